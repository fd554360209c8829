import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runOutputSchema } from '../../protocol/run-output.ts'

test('docs/run-json.schema.json is what the types say (npm run schema writes it)', () => {
  const published = JSON.parse(readFileSync('docs/run-json.schema.json', 'utf8'))
  expect(published).toEqual(JSON.parse(JSON.stringify(runOutputSchema())))
})
