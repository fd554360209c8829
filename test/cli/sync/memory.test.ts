/** What a sync remembers: rows that nothing changed are written as they were read, and must not hide a change of another. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Memory, readMemory } from '../../../cli/sync/memory.ts'
import type { ContentId } from '../../../host/tree/content.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const PATHS = ['a', 'b/c', 'odd "name",\n["', 'z']
const path = fc.constantFrom(...PATHS)
const id = fc.constantFrom<ContentId>('sha256:1', 'sha256:2', 'link:eA==')
const facts = fc.record({
  size: fc.nat(9),
  mtimeMs: fc.constantFrom(1.5, 1_700_000_000_000.25),
  ctimeMs: fc.constant(2),
  ino: fc.nat(3),
  dev: fc.constant(1),
})
const far = fc.record({ id, mode: fc.constantFrom(0o644, 0o755), size: fc.nat(9) })
const step = fc.oneof(
  fc.record({
    do: fc.constant('agree' as const),
    path,
    agreed: fc.option(fc.record({ id, nearMode: fc.constant(0o644), farMode: fc.constant(0o755) }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant('far' as const), path, far: fc.option(far, { nil: undefined }) }),
  fc.record({ do: fc.constant('near' as const), path, facts, id }),
  fc.record({ do: fc.constant('forget' as const), path }),
  fc.record({ do: fc.constant('replace' as const), entries: fc.array(fc.tuple(path, far), { maxLength: 3 }) }),
  fc.record({ do: fc.constant('save' as const) }),
)
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never

function take(memory: Memory, one: Step): void {
  if (one.do === 'agree') memory.agree(one.path, one.agreed)
  else if (one.do === 'far') memory.setFar(one.path, one.far)
  else if (one.do === 'near') memory.near.put(one.path, one.facts, one.id)
  else if (one.do === 'forget') memory.near.delete(one.path)
  else if (one.do === 'replace') memory.replaceFar(new Map(one.entries), 'told')
}

const contentOf = (memory: Memory) => ({
  agreed: new Map(memory.agreed),
  far: new Map(memory.far),
  near: new Map([...memory.near.paths()].map((name) => [name, memory.near.entry(name)])),
})

test('whatever is done between being written and read, it says what one says that was never written', async () => {
  const file = join(temporaryDirectory(), 'memory')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const kept = new Memory()
      let saved = new Memory()
      for (const one of steps) {
        take(kept, one)
        take(saved, one)
        if (one.do !== 'save') continue
        writeFileSync(file, saved.text())
        saved = await readMemory(file)
        saved.load()
        expect(saved.isChanged).toBe(false)
      }
      writeFileSync(file, saved.text())
      const last = await readMemory(file)
      last.load()
      expect(contentOf(last)).toEqual(contentOf(kept))
    }),
    { numRuns: 300 },
  )
})
