/** The table of docs/limits.md against the schemas. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { GatewayConfig } from '../../protocol/config.ts'
import { WaitLimit } from '../../protocol/limits.ts'
import { parseBytes, parseSeconds } from '../../protocol/units.ts'

const DOCUMENT = readFileSync('docs/limits.md', 'utf8')
const defaults = GatewayConfig.parse({}) as unknown as Record<string, Record<string, unknown>>

test('every key that the document names exists, and every limit that a task can wait for is in it', () => {
  const keys = [...DOCUMENT.matchAll(/`(limits|retention|intervals|deadlines)\.(\w+)`/g)]
  expect(keys.length).toBeGreaterThan(20)
  for (const [, section = '', key = ''] of keys) {
    const { error } = GatewayConfig.safeParse({ [section]: { [key]: 1 } })
    const unknown = error?.issues.filter(({ code }) => code === 'unrecognized_keys') ?? []
    expect([`${section}.${key}`, unknown]).toEqual([`${section}.${key}`, []])
  }
  for (const [, key = ''] of DOCUMENT.matchAll(/`limits\.users\.(\w+)`/g))
    expect([key, GatewayConfig.safeParse({ limits: { users: { alice: { [key]: 1 } } } }).success]).toEqual([key, true])
  for (const limit of WaitLimit.options) expect(DOCUMENT).toContain(`\`${limit}\``)
})

test('every default in the table is the one of the schema', () => {
  const rows = DOCUMENT.split('\n').filter((line) => /^\| [^|]+ \| `(limits|retention)\./.test(line))
  let compared = 0
  for (const row of rows) {
    const [, , keyCell = '', defaultCell = ''] = row.split('|')
    const keys = [...keyCell.matchAll(/`(limits|retention)\.(\w+)`/g)]
    const words = defaultCell.trim().split(', ')
    for (const [at, [, section = '', key = '']] of keys.entries()) {
      const word = words[at] ?? words[0] ?? ''
      const value = parseSeconds(word) ?? parseBytes(word)
      const actual = defaults[section]?.[key]
      if (value === undefined) expect([key, actual ?? 0]).toEqual([key, 0])
      else expect([key, actual]).toEqual([key, value])
      compared++
    }
  }
  expect(compared).toBeGreaterThan(15)
})
