import { expect, test } from 'vitest'
import { launchDeadlines } from '../../../gateway/tasks/machine.ts'
import { type Seen, verdictOnQueued, verdictOnRunning, verdictOnStarting } from '../../../gateway/tasks/verdict.ts'
import { GatewayConfig } from '../../../protocol/config.ts'
import { NO_USAGE, type RunResult } from '../../../protocol/event.ts'
import { newLaunchId, newTaskId } from '../../../protocol/ids.ts'
import { type Task, TaskSpec } from '../../../protocol/task.ts'

const { deadlines } = GatewayConfig.parse({})
const START = '2026-01-01T00:00:00.000Z'
const stopRequested = { by: 'alice', at: START, reason: 'enough' }
const gone = { status: 'gone', detail: 'Killed' } as const
const taken = { status: 'stopped', reason: 'infrastructure' } as const
const runs = { status: 'running' } as const
const waits = { status: 'pending', detail: 'PROVISIONING' } as const
const silence = deadlines.launch + deadlines.start
const result: RunResult = {
  outcome: 'succeeded',
  reason: 'completed',
  message: 'done',
  check: { verdict: 'none' },
  usage: NO_USAGE,
  durationMs: 1,
  filesChanged: 1,
}

/** Everything else as if `elapsed` seconds had passed since all of it began. */
const seen = (elapsed = 0, more: Partial<Seen> = {}): Seen => ({
  status: undefined,
  trouble: undefined,
  deadlines,
  launchDeadlines: launchDeadlines({ deadlines }, undefined),
  taskTimeout: 14_400,
  isHeldUp: false,
  isPast: (_since, seconds) => seconds <= elapsed,
  ...more,
})

function task<Name extends Task['state']>(state: { state: Name; [fact: string]: unknown }) {
  return {
    id: newTaskId(),
    owner: 'alice',
    spec: TaskSpec.parse({ prompt: 'do it', workspace: { kind: 'none' } }),
    createdAt: START,
    turns: [{ turn: 1, prompt: 'do it', createdAt: START, startedAt: START }],
    workspace: {},
    usage: NO_USAGE,
    lastSeq: 0,
    since: START,
    placement: { launchId: newLaunchId(), launcher: 'process', handle: '1', startedAt: START },
    connection: { online: true, since: START, version: '1', capabilities: [] },
    ...state,
  } as unknown as Task & { state: Name }
}
const queued = (more = {}) => task({ state: 'queued', waitingFor: 'workspace', ...more })
const starting = (more = {}) => task({ state: 'starting', ...more })
const running = (more = {}) => task({ state: 'running', ...more })
const offline = { connection: { online: false, since: START, version: '1', capabilities: [] } }
const kept = { keptUntil: START, turns: [{ turn: 1, prompt: 'x', createdAt: START, result }] }
const undelivered = { turns: [{ turn: 1, prompt: 'x', createdAt: START }] }

test('a task that is as it should be stays', () => {
  expect(verdictOnQueued(queued(), seen(10))).toBeUndefined()
  expect(verdictOnStarting(starting(), seen(10, { status: { status: 'pending' } }))).toBeUndefined()
  expect(verdictOnRunning(running(), seen(10, { status: { status: 'running' } }))).toBeUndefined()
})

test.each([
  ['queued, stop', verdictOnQueued(queued({ stopRequested }), seen()), 'cancelled', 'user'],
  ['queued, no workspace', verdictOnQueued(queued(), seen(deadlines.workspace)), 'failed', 'workspace'],
  ['starting, stop', verdictOnStarting(starting({ stopRequested }), seen(0, { status: gone })), 'cancelled', 'user'],
  ['starting, gone', verdictOnStarting(starting(), seen(0, { status: gone })), 'failed', 'launch'],
  ['starting, late', verdictOnStarting(starting(), seen(deadlines.start, { status: runs })), 'failed', 'start_timeout'],
  ['starting, unheard of', verdictOnStarting(starting(), seen(silence)), 'failed', 'start_timeout'],
  [
    'starting, no machine',
    verdictOnStarting(starting(), seen(deadlines.launch, { status: waits })),
    'failed',
    'capacity',
  ],
  ['running, gone', verdictOnRunning(running(), seen(0, { status: gone })), 'lost', 'placement_gone'],
  ['running, taken', verdictOnRunning(running(), seen(0, { status: taken })), 'interrupted', 'infrastructure'],
  [
    'running, gone under a stop',
    verdictOnRunning(running({ stopRequested }), seen(0, { status: gone })),
    'cancelled',
    'user',
  ],
  ['running, deaf to a stop', verdictOnRunning(running({ stopRequested }), seen(deadlines.stop)), 'cancelled', 'user'],
  ['running, offline', verdictOnRunning(running(offline), seen(deadlines.offline)), 'lost', 'offline'],
  ['running, over time', verdictOnRunning(running(), seen(14_400 + 120)), 'timeout', 'max_duration'],
  [
    'running, never delivered',
    verdictOnRunning(running(undelivered), seen(deadlines.start, { trouble: 'x' })),
    'failed',
    'internal',
  ],
  ['kept, time is up', verdictOnRunning(running(kept), seen(0)), 'succeeded', 'completed'],
  ['kept, gone', verdictOnRunning(running(kept), seen(0, { status: gone })), 'succeeded', 'completed'],
] as const)('%s', (_name, verdict, outcome, reason) => {
  expect(verdict).toMatchObject({ outcome, reason })
})

test('an agent that dials in time, while its launcher cannot say whether it is the one, is not late', () => {
  expect(verdictOnStarting(starting(), seen(deadlines.start, { status: runs, isHeldUp: true }))).toBeUndefined()
})

test('a task that is stopped while it waits its turn gets its full time to save', () => {
  expect(verdictOnRunning(running({ stopRequested }), seen(deadlines.stop - 1))).toBeUndefined()
})

test('the last words of what ended are in the message', () => {
  expect(verdictOnRunning(running(), seen(0, { status: gone }))?.message).toContain('Killed')
})

test('how it ended is in the message: exit code and last words, or what a machine was waited for', () => {
  const died = { status: 'stopped', exitCode: 137, detail: 'OutOfMemory' } as const
  expect(verdictOnStarting(starting(), seen(0, { status: died }))?.message).toBe(
    'the agent ended before it dialled in (exit code 137); its last words: OutOfMemory',
  )
  expect(verdictOnStarting(starting(), seen(deadlines.launch, { status: waits }))?.message).toBe(
    `no machine ran it within ${deadlines.launch} s (deadlines.launch): PROVISIONING`,
  )
})

test('the time to dial in begins when the machine runs, and a launcher has deadlines of its own', () => {
  const launcher = { name: 'ecs', deadlines: { launch: 1_200, dial: 60 } }
  const slow = { launchDeadlines: launchDeadlines({ deadlines }, launcher) }
  const at = (elapsed: number, status: Seen['status']) =>
    verdictOnStarting(starting(), seen(elapsed, { ...slow, status }))
  expect(at(1_199, waits)).toBeUndefined()
  expect(at(1_200, waits)?.message).toContain('launchers.ecs.deadlines.launch')
  expect(at(60, runs)?.message).toContain('launchers.ecs.deadlines.dial')
  const LATER = '2026-01-01T00:10:00.000Z'
  const sinceLater = seen(0, {
    ...slow,
    status: { status: 'running', since: LATER },
    isPast: (since) => since === START,
  })
  expect(verdictOnStarting(starting(), sinceLater)).toBeUndefined()
})
