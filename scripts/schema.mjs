/** Writes docs/run-json.schema.json from protocol/run-output.ts, which Node 20 cannot read as it is. */
import { writeFile } from 'node:fs/promises'
import { build } from 'esbuild'

const { outputFiles } = await build({
  entryPoints: ['protocol/run-output.ts'],
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  write: false,
})
const source = Buffer.from(outputFiles[0].contents).toString('base64')
const { runOutputSchema } = await import(`data:text/javascript;base64,${source}`)
await writeFile('docs/run-json.schema.json', `${JSON.stringify(runOutputSchema(), undefined, 2)}\n`)
