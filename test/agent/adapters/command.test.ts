import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { AdapterRun } from '../../../agent/adapters/adapter.ts'
import { command, MAX_OUTPUT_EVENT_BYTES } from '../../../agent/adapters/command.ts'
import type { EventBody } from '../../../protocol/event.ts'
import { eventually } from '../../helpers/eventually.ts'
import { finish, isAlive } from '../../helpers/scripted-claude.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

function run(argv: string[], overrides: Partial<AdapterRun> = {}): AdapterRun {
  const cwd = temporaryDirectory()
  const env = { PATH: process.env.PATH ?? '', HOME: cwd }
  return { command: argv, cwd, home: cwd, env, permissionMode: 'default', limits: {}, ...overrides }
}

const textOf = (events: EventBody[], channel: 'stdout' | 'stderr') =>
  events.flatMap((event) => (event.type === 'output' && event.channel === channel ? [event.text] : [])).join('')

test('runs the exact arguments without a shell, stdout and stderr apart', async () => {
  const script = 'console.log(process.argv[1]); console.error("oh")'
  const { events, result } = await finish(run(['node', '-e', script, '$(touch pwned); "a b" *']), command)
  expect(textOf(events, 'stdout')).toBe('$(touch pwned); "a b" *\n')
  expect(textOf(events, 'stderr')).toBe('oh\n')
  expect(result).toMatchObject({ outcome: 'succeeded', reason: 'completed', exitCode: 0 })
})

test('the exit code is the outcome', async () => {
  const { result } = await finish(run(['sh', '-c', 'exit 3']), command)
  expect(result).toMatchObject({ outcome: 'failed', reason: 'exit_code', exitCode: 3 })
  expect(result.message).toContain('exited with 3')
})

test('a signal is told by name', async () => {
  const { result } = await finish(run(['sh', '-c', 'kill -9 $$']), command)
  expect(result).toMatchObject({ outcome: 'failed', reason: 'exit_code', exitCode: null })
  expect(result.message).toContain('SIGKILL')
})

test.each([
  ['a program that is not there', ['no-such-program'], {}, 'agent_missing', 'no-such-program was not found'],
  ['a directory that is not there', ['true'], { cwd: '/nowhere' }, 'workspace', '/nowhere is not there'],
] as const)('%s is told apart', async (_name, argv, overrides, reason, message) => {
  const { result } = await finish(run([...argv], overrides), command)
  expect(result).toMatchObject({ outcome: 'failed', reason, message: expect.stringContaining(message) })
})

test('a program that may not be executed is told apart', async () => {
  const work = run(['./plain'])
  writeFileSync(join(work.cwd, 'plain'), 'text', { mode: 0o644 })
  const { result } = await finish(work, command)
  expect(result).toMatchObject({
    outcome: 'failed',
    reason: 'agent_missing',
    message: expect.stringContaining('chmod +x'),
  })
})

test('characters are whole across chunks and events are bounded', async () => {
  const script = `
    const bytes = Buffer.from('ä€😀'.repeat(50_000))
    for (let at = 0; at < bytes.length; at += 10_007) process.stdout.write(bytes.subarray(at, at + 10_007))
    process.stdout.write(Buffer.from([0xe2, 0x82]))` // and a last one that never ends
  const { events } = await finish(run(['node', '-e', script]), command)
  expect(textOf(events, 'stdout')).toBe(`${'ä€😀'.repeat(50_000)}\uFFFD`)
  const sizes = events.map((event) => (event.type === 'output' ? Buffer.byteLength(event.text) : 0))
  expect(Math.max(...sizes)).toBeLessThanOrEqual(MAX_OUTPUT_EVENT_BYTES + 3)
})

test('a program waits for a reader that rests, and no output is lost', async () => {
  const total = 20_000_000
  const script = `
    const { writeSync, writeFileSync } = require('node:fs')
    for (let sent = 0; sent < ${total}; sent += 10_000) { writeSync(1, 'x'.repeat(10_000)); writeFileSync('sent', String(sent)) }`
  const work = run(['node', '-e', script])
  const session = await command.start(work)
  onTestFinished(() => session.stop())
  const events = session.events[Symbol.asyncIterator]()
  const first = await events.next()

  let last = -1
  let unchangedSince = Date.now()
  const stalledAt = await eventually('the program waits', () => {
    const path = join(work.cwd, 'sent')
    const sent = existsSync(path) ? Number(readFileSync(path, 'utf8')) : -1
    if (sent !== last) unchangedSince = Date.now()
    last = sent
    return sent >= 0 && Date.now() - unchangedSince > 500 && sent
  })
  expect(stalledAt).toBeLessThan(1_000_000)

  let read = first.value?.type === 'output' ? first.value.text.length : 0
  for (let next = await events.next(); !next.done; next = await events.next())
    if (next.value.type === 'output') read += next.value.text.length
  expect(read).toBe(total)
})

test('what a command leaves in the background is gone before the result, and does not hold it up', async () => {
  const work = run(['sh', '-c', 'setsid sleep 300 & echo $! > left'])
  const { result } = await finish(work, command)
  expect(result.outcome).toBe('succeeded')
  const left = Number(readFileSync(join(work.cwd, 'left'), 'utf8'))
  expect(left).toBeGreaterThan(0)
  await eventually('it is gone', () => !isAlive(left))
})

test('stop ends a command and says cancelled', async () => {
  const session = await command.start(run(['sh', '-c', 'echo ready; exec sleep 300']))
  const seen: EventBody[] = []
  for await (const event of session.events) {
    seen.push(event)
    void session.stop()
  }
  expect(seen).toEqual([{ type: 'output', step: 'agent', channel: 'stdout', text: 'ready\n' }])
  expect(await session.result).toMatchObject({ outcome: 'cancelled', reason: 'user', exitCode: null })
})

test('a reader that walks away ends the command', async () => {
  const session = await command.start(run(['sh', '-c', 'echo ready; exec sleep 300']))
  for await (const _event of session.events) break
  expect((await session.result).exitCode).toBeNull()
})
