/** The short form of `npm run soak:files`. */
import { expect, test } from 'vitest'
import { soakFiles } from './files/run.ts'

const MIB = 1024 ** 2

test('a file goes up and down whole, with copies that are killed half-way, in memory that does not grow with it', {
  timeout: 120_000,
}, async () => {
  const { faults, steps } = await soakFiles(128 * MIB, () => {})
  expect(faults).toEqual([])
  for (const { step, gateway, agent, client } of steps)
    for (const bytes of [gateway, agent, client]) expect(bytes, step).toBeLessThan(400 * MIB)
})
