/** `rclaude top` and `rclaude doctor TASK` on a real task, on one whose agent is stuck, and on one that has ended. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { TaskHealth } from '../../protocol/health.ts'
import { eventually } from '../helpers/eventually.ts'
import { startWorld } from '../helpers/world.ts'

test('a running task shows what its machine does, and what ails it', async () => {
  const world = await startWorld()
  const task = await world.createTask({
    agent: 'command',
    command: ['sh', '-c', 'while :; do :; done'],
    workspace: { kind: 'none' },
  })
  const user = { env: world.asAdmin }
  await world.state(task.id, 'running')
  await eventually('the busy shell is on top', async () => {
    const shown = JSON.parse((await world.cli(['top', task.id, '--json'], user)).stdout) as TaskHealth
    return shown.agent?.processes.top[0]?.name === 'sh' && (shown.agent.cpu.used ?? 0) > 0.1
  })
  const once = await world.cli(['top', task.id], user)
  expect(once.stdout).toMatch(new RegExp(`^task +${task.id} running$`, 'm'))
  expect(once.stdout).toMatch(/^up .*the task alone; others use the machine too/m)
  for (const name of ['cpu', 'memory', 'disk', 'processes', 'behind', 'tunnel'])
    expect(once.stdout).toMatch(new RegExp(`^${name} +\\S`, 'm'))
  const all = await world.cli(['top'], user)
  expect(all.stdout).toMatch(new RegExp(`^${task.id} +\\d+% +\\S+ MiB / `, 'm'))
  const well = await world.cli(['doctor', task.id], user)
  expect(well.stdout).toMatch(/^✓ agent +\S+, answers$/m)

  const live = await world.startOnTerminal(['top', task.id, '--interval', '500ms'], {
    ...user,
    script: [
      { when: 'PROCESS', type: '' },
      { when: 'PROCESS', type: '\u0003' },
    ],
  })
  expect(live.stdout).toContain('\u001b[H')

  // A machine that hangs: the connection is there, and nothing answers on it.
  const agent = agentOf(task.id, world.processes())
  process.kill(agent, 'SIGSTOP')
  try {
    const stuck = await world.cli(['doctor', task.id], user)
    expect(stuck.code).toBe(1)
    expect(stuck.stdout).toMatch(/^✗ agent +connected, and does not answer: .*within 5 s/m)
  } finally {
    process.kill(agent, 'SIGCONT')
  }
  await world.cli(['stop', task.id], user)
  await world.ended(task.id)
  const over = await world.cli(['doctor', task.id], user)
  expect(over.stdout).toMatch(/^✗ state +ended: cancelled/m)
  expect((await world.cli(['top', task.id], user)).stdout).toMatch(/^machine +there is none at the moment$/m)
  expect((await world.cli(['top'], user)).stdout).toBe('no task is running\n')
}, 60_000)

function agentOf(taskId: string, pids: readonly number[]): number {
  const found = pids.find((pid) => {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
    return command.includes('agent.js') && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(taskId)
  })
  if (found === undefined) throw new Error(`no agent of ${taskId} runs`)
  return found
}
