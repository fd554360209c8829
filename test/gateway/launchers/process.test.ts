import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createProcessLauncher } from '../../../gateway/launchers/process.ts'
import { findByEnvironment, startTimeOf } from '../../../host/processes.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import { eventually } from '../../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../../helpers/launching.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

/** A launcher whose "agent" is a shell script: a real process, as far as a launcher can tell. */
function launcherOf(script: string) {
  const directory = join(temporaryDirectory(), 'run')
  mkdirSync(directory)
  const launcher = createProcessLauncher({ directory, agentArgv: ['/bin/sh', '-c', script], env: process.env })
  onTestFinished(async () => {
    for (const placement of await launcher.list()) await launcher.stop(placement, 'the test has ended')
  })
  return { launcher, directory }
}

const options = launchOptions()
const alive = (launchId: string) => findByEnvironment(AGENT_ENV.launchId, launchId)

test('launching the same thing twice gives one process', async () => {
  const { launcher } = launcherOf('exec sleep 300')
  const spec = launchSpec()
  const first = await launcher.launch(spec, options)
  expect(await launcher.launch(spec, options)).toEqual(first)
  expect(await alive(spec.launchId)).toEqual([Number(first.handle)])
})

test('stop leaves nothing: not a child, not one that left its session, no file; and may be repeated', async () => {
  const { launcher, directory } = launcherOf("trap '' TERM; sleep 300 & setsid sleep 301 & wait")
  const spec = launchSpec()
  const placement = await launcher.launch(spec, options)
  await eventually('its children run', async () => (await alive(spec.launchId)).length === 3)
  await launcher.stop(placement, 'enough')
  expect(await alive(spec.launchId)).toEqual([])
  expect(readdirSync(directory)).toEqual([])
  await launcher.stop(placement, 'again')
}, 30_000)

test('one that was started in the last instant before a crash is found', async () => {
  const { launcher, directory } = launcherOf('exec sleep 300')
  const spec = launchSpec()
  const placement = await launcher.launch(spec, options)
  const file = join(directory, spec.taskId, 'launch.json')
  const { pid, startTime, ...intent } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  writeFileSync(file, JSON.stringify(intent)) // as it stands between the start and the record of it
  expect(await launcher.list()).toEqual([{ ...placement, taskId: spec.taskId }])
  expect((await launcher.inspect([placement])).get(spec.launchId)).toEqual({ status: 'running' })
  await launcher.stop(placement, 'enough')
  expect(await startTimeOf(Number(pid))).toBeUndefined()
})

test('a pid that another process has got is not taken for ours, nor is that process touched', async () => {
  const { launcher, directory } = launcherOf('exit 0')
  const spec = launchSpec()
  const placement = await launcher.launch(spec, options)
  await eventually('it has ended', async () => (await alive(spec.launchId)).length === 0)
  await new Promise((resolve) => setTimeout(resolve, 50)) // start times count ticks of 10 ms; a pid comes again later than that
  const stranger: ChildProcess = spawn('sleep', ['300'])
  onTestFinished(() => void stranger.kill('SIGKILL'))
  const file = join(directory, spec.taskId, 'launch.json')
  const record = JSON.parse(readFileSync(file, 'utf8')) as object
  writeFileSync(file, JSON.stringify({ ...record, pid: stranger.pid }))
  expect((await launcher.inspect([placement])).get(spec.launchId)).toMatchObject({ status: 'gone' })
  await launcher.stop(placement, 'enough')
  expect(stranger.exitCode).toBeNull()
  expect(await startTimeOf(stranger.pid ?? 0)).toBeDefined()
})

test('what is gone is told with its last words', async () => {
  const { launcher } = launcherOf('echo something is wrong >&2; exit 3')
  const placement = await launcher.launch(launchSpec(), options)
  const status = await eventually('it is gone', async () => {
    const seen = (await launcher.inspect([placement])).get(placement.launchId)
    return seen?.status === 'gone' && seen
  })
  expect(status).toMatchObject({ reason: 'placement_gone', detail: 'something is wrong' })
})

test('a program that cannot be started is named, and leaves nothing', async () => {
  const directory = join(temporaryDirectory(), 'run')
  mkdirSync(directory)
  const launcher = createProcessLauncher({ directory, agentArgv: ['/nonexistent/agent'], env: {} })
  await expect(launcher.launch(launchSpec(), options)).rejects.toThrow(/\/nonexistent\/agent/)
  expect(existsSync(directory)).toBe(true)
  expect(readdirSync(directory)).toEqual([])
})

test('the agent gets what it needs of the environment and nothing else', async () => {
  process.env.A_SECRET_OF_THE_GATEWAY = 'x'
  onTestFinished(() => void delete process.env.A_SECRET_OF_THE_GATEWAY)
  const { launcher, directory } = launcherOf('env > writing; mv writing environment; exec sleep 300')
  const spec = launchSpec()
  await launcher.launch(spec, options)
  const file = join(directory, spec.taskId, 'environment')
  const text = await eventually('it is written', () => existsSync(file) && readFileSync(file, 'utf8'))
  expect(text).toContain(`${AGENT_ENV.joinCode}=a-join-code`)
  expect(text).not.toContain('A_SECRET_OF_THE_GATEWAY')
})
