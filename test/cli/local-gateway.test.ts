/** The user's own gateway: the real one, started, found and stopped by the CLI. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { isHealthy } from '../../cli/local-gateway.ts'
import { findByEnvironment } from '../../host/processes.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { bundleCli, runCli } from './support/bundle.ts'

const bundle = await bundleCli(['rclaude', 'gateway'])

function user(): { home: string; data: string; rclaude: (...args: string[]) => ReturnType<typeof runCli> } {
  const home = temporaryDirectory()
  const data = join(home, 'data', 'rclaude', 'gateway')
  const env = {
    XDG_DATA_HOME: join(home, 'data'),
    XDG_CONFIG_HOME: join(home, 'config'),
    ANTHROPIC_API_KEY: 'sk-test',
    RCLAUDE_LOG__LEVEL: 'warn',
  }
  const rclaude = (...args: string[]) => runCli(bundle, home, args, { env })
  onTestFinished(async () => void (await rclaude('gateway', 'stop')))
  return { home, data, rclaude }
}

const pidOf = (data: string): number =>
  (JSON.parse(readFileSync(join(data, 'gateway.json'), 'utf8')) as { pid: number }).pid

test('it is started, found again, and stopped', async () => {
  const { data, rclaude } = user()
  expect((await rclaude('gateway', 'status', '--json')).code).toBe(EXIT_CODES.failed)
  const started = await rclaude('gateway', 'start', '--json')
  expect(started).toMatchObject({ code: 0, stderr: '' })
  const { pid, url } = JSON.parse(started.stdout) as { pid: number; url: string }
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  expect(JSON.parse((await rclaude('gateway', 'start', '--json')).stdout)).toMatchObject({ started: false, pid, url })
  expect((await rclaude('ps', '--json')).stdout).toBe('{"tasks":[]}\n')
  expect(statSync(join(data, 'gateway.log')).mode & 0o777).toBe(0o600)

  expect(JSON.parse((await rclaude('gateway', 'stop', '--json')).stdout)).toEqual({ stopped: true, pid })
  expect(await isHealthy(url)).toBe(false)
  expect((await rclaude('gateway', 'stop')).stdout).toBe('no local gateway runs\n')
})

test('five that start it at once find one and the same', async () => {
  const { home, data, rclaude } = user()
  const all = await Promise.all(Array.from({ length: 5 }, () => rclaude('gateway', 'start', '--json')))
  expect(all.map(({ code, stderr }) => ({ code, stderr }))).toEqual(all.map(() => ({ code: 0, stderr: '' })))
  const answers = all.map(({ stdout }) => JSON.parse(stdout) as { pid: number; started: boolean })
  expect(new Set(answers.map(({ pid }) => pid))).toEqual(new Set([pidOf(data)]))
  expect(answers.filter(({ started }) => started).length).toBe(1)
  // One that had lost and was still loading would take the folder as soon as the winner is stopped.
  expect(await findByEnvironment('XDG_DATA_HOME', join(home, 'data'))).toEqual([pidOf(data)])
})

test('model credentials of whoever starts it do not stay with the daemon', async () => {
  const { data, rclaude } = user()
  await rclaude('gateway', 'start')
  const file = `/proc/${pidOf(data)}/environ`
  if (!existsSync(file)) return console.log(`${file} is not here: the environment of a process cannot be read`)
  expect(readFileSync(file, 'utf8')).not.toContain('sk-test')
})

test('one that was killed is started anew, and its leftovers do not mislead', async () => {
  const { data, rclaude } = user()
  await rclaude('gateway', 'start')
  const first = pidOf(data)
  process.kill(first, 'SIGKILL')
  const { code, stderr } = await rclaude('ps')
  expect(code).toBe(0)
  expect(stderr).toContain('started a local gateway at')
  expect(pidOf(data)).not.toBe(first)
})

test('one that cannot start says why at once', async () => {
  const { data, rclaude } = user()
  await rclaude('gateway', 'start')
  await rclaude('gateway', 'stop')
  writeFileSync(join(data, 'gateway.db'), 'this is no database, and it is long enough to be noticed as such'.repeat(20))
  const began = Date.now()
  const { code, stderr } = await rclaude('gateway', 'start')
  expect(code).toBe(EXIT_CODES.internal)
  expect(stderr).toMatch(/the local gateway ended at once \(1\): [\s\S]*not a database[\s\S]*gateway\.log/)
  expect(Date.now() - began).toBeLessThan(10_000)
})

test('a damaged file of ours is named', async () => {
  const { home, rclaude } = user()
  await rclaude('gateway', 'start')
  const file = join(home, 'data', 'rclaude', 'gateway', 'gateway.json')
  const good = readFileSync(file, 'utf8')
  writeFileSync(file, '{')
  expect((await rclaude('ps')).stderr).toContain(`${file} is damaged: delete it`)
  writeFileSync(file, good) // so that it can be stopped
})
