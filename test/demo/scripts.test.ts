/** The demo's script with the real Claude Code on the real demo repository. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { DEMO_BUG, DEMO_PROMPT, makeDemoRepository } from '../../demo/repository.ts'
import { fixFailingTest } from '../../demo/scripts.ts'
import { finish, scriptedClaude } from '../helpers/scripted-claude.ts'

const testsPass = (cwd: string) =>
  promisify(execFile)(process.execPath, ['--test'], { cwd, env: { PATH: process.env.PATH ?? '' } }).then(
    () => true,
    () => false,
  )

async function demo() {
  const setup = await scriptedClaude(fixFailingTest())
  await makeDemoRepository(setup.cwd)
  return setup
}

test('the failing test of the demo repository is fixed by one edit', async () => {
  const setup = await demo()
  expect(await testsPass(setup.cwd)).toBe(false)
  const { events, result } = await finish(setup.run({ prompt: DEMO_PROMPT }))

  expect(result).toMatchObject({ outcome: 'succeeded', summary: expect.stringContaining('All tests pass now') })
  expect(await testsPass(setup.cwd)).toBe(true)
  const { stdout } = await promisify(execFile)('git', ['status', '--porcelain'], { cwd: setup.cwd })
  expect(stdout).toBe(` M ${DEMO_BUG.file}\n`)
  expect(JSON.stringify(events)).toContain('1 test fails: “adds up several units”')
})

test('tests that pass already are left alone', async () => {
  const setup = await demo()
  const path = join(setup.cwd, DEMO_BUG.file)
  writeFileSync(path, readFileSync(path, 'utf8').replace(DEMO_BUG.wrong, DEMO_BUG.right))
  const { result } = await finish(setup.run({ prompt: DEMO_PROMPT }))
  expect(result.summary).toContain('nothing to fix')
})

test('another bug than the known one is not claimed to be fixed', async () => {
  const setup = await demo()
  const path = join(setup.cwd, DEMO_BUG.file)
  writeFileSync(path, readFileSync(path, 'utf8').replace(DEMO_BUG.wrong, 'total -= Number(amount)'))
  const { result } = await finish(setup.run({ prompt: DEMO_PROMPT }))
  expect(result.summary).toContain('I do not see why')
})

test('a refused tool is told, and nothing is claimed', async () => {
  const setup = await demo()
  const { result } = await finish(setup.run({ prompt: DEMO_PROMPT, permissionMode: 'dontAsk' }))
  expect(result).toMatchObject({
    outcome: 'succeeded',
    reason: 'completed',
    summary: expect.stringContaining('I could not use Bash: Permission to use Bash has been denied'),
  })
})
