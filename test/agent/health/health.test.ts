import { type ChildProcess, spawn } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { HealthMonitor, type HealthSources } from '../../../agent/health/health.ts'
import { parseSample, processesOfTask } from '../../../agent/health/processes.ts'
import { AgentHealth } from '../../../protocol/health.ts'
import { newProcessId } from '../../../protocol/ids.ts'
import { eventually } from '../../helpers/eventually.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const MARK = { name: 'RCLAUDE_TEST_MARK', value: `mark-${process.pid}` }

const sources = (more: Partial<HealthSources> = {}): HealthSources => ({
  workspace: temporaryDirectory(),
  temporary: temporaryDirectory(),
  mark: MARK,
  path: () => process.env.PATH ?? '',
  events: () => 7,
  started: () => [],
  ...more,
})

function start(script: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  const child = spawn('/bin/sh', ['-c', script], { stdio: 'ignore', env: { PATH: process.env.PATH, ...env } })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

const isLinux = process.platform === 'linux'
if (!isLinux) console.log('there is no /proc here: the tests that read it are left out')

test.runIf(isLinux)('a busy process is on top, with its use of CPU and the id it was started under', async () => {
  const child = start('exec sh -c "while :; do :; done"')
  const id = newProcessId()
  const monitor = new HealthMonitor(
    sources({ started: () => [{ id, pid: child.pid ?? 0, heldBytes: 5, isHeldBack: true }] }),
  )
  await eventually('it is seen to be busy', async () => {
    const health = AgentHealth.parse(await monitor.look('task'))
    const busy = health.processes.top.find(({ pid }) => pid === child.pid)
    return busy !== undefined && busy.cpu > 0.1 && health.cpu.used >= busy.cpu * 0.9 && busy.processId === id
  })
  const health = await monitor.look('task')
  expect(health.started).toEqual({ running: 1, heldBytes: 5, heldBack: [id] })
  expect(health.events).toBe(7)
  expect(health.memory.usedBytes).toBeGreaterThan(process.memoryUsage().rss / 2)
  expect(health.memory.limitBytes).toBeGreaterThan(health.memory.usedBytes)
  expect(health.programs.git).toBe(true)
})

test.runIf(isLinux)("of a machine that others use too, only the task's own processes count", async () => {
  const orphaned = start('setsid sleep 60 & setsid sleep 61 & exec sleep 0', { [MARK.name]: MARK.value })
  await new Promise((resolve) => orphaned.once('exit', resolve))
  onTestFinished(async () => {
    for (const { pid, name } of await processesOfTask(MARK)) if (name === 'sleep') process.kill(pid, 'SIGKILL')
  })
  const own = await eventually('both have become what they are', async () => {
    const seen = await processesOfTask(MARK)
    return seen.filter(({ name }) => name === 'sleep').length === 2 && seen
  })
  expect(own.map(({ pid }) => pid)).toContain(process.pid)
  expect(own.map(({ pid }) => pid)).not.toContain(1)
  expect(own.map(({ pid }) => pid)).not.toContain(process.ppid)
})

test.runIf(isLinux)('clients that ask together share one look', async () => {
  const monitor = new HealthMonitor(sources())
  const [first, second] = await Promise.all([monitor.look('task'), monitor.look('task')])
  expect(second).toBe(first)
})

test('disks that hold the same file system are told once, and a folder that is gone is left out', async () => {
  const folder = temporaryDirectory()
  const both = await new HealthMonitor(sources({ workspace: folder, temporary: folder })).look('task')
  expect(both.disks).toHaveLength(1)
  expect(both.disks[0]?.holds).toEqual(['workspace', 'temporary'])
  const gone = await new HealthMonitor(sources({ workspace: '/nowhere/at/all', temporary: folder })).look('task')
  expect(gone.disks.map(({ holds }) => holds)).toEqual([['temporary']])
})

test('programs are looked for where the task would find them', async () => {
  const health = await new HealthMonitor(sources({ path: () => temporaryDirectory() })).look('task')
  expect(health.programs.git).toBe(false)
})

test('the name of a process may hold anything', () => {
  const fields = ['S', '4', ...Array.from({ length: 50 }, (_, at) => String(at + 5))]
  const stat = `12 (a) R 1 (b)) ${fields.join(' ')}`
  expect(parseSample(12, stat, 'VmRSS:\t  20 kB\n')).toEqual({
    pid: 12,
    parent: 4,
    name: 'a) R 1 (b)',
    cpuSeconds: (14 + 15) / 100,
    memoryBytes: 20_480,
    threads: 20,
  })
  expect(parseSample(12, stat.replace(' S 4', ' Z 4'), '')).toBeUndefined()
})
