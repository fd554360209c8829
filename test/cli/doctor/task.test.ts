import { expect, test } from 'vitest'
import { type TaskFacts, taskFindings } from '../../../cli/doctor/task.ts'
import type { AgentHealth, TaskHealth } from '../../../protocol/health.ts'
import type { GatewayInfo } from '../../../protocol/routes.ts'
import type { Task } from '../../../protocol/task.ts'
import { aTask } from '../support/loopback.ts'

const NOW = Date.parse('2026-01-02T04:00:00.000Z')
const ago = (seconds: number) => new Date(NOW - seconds * 1000).toISOString()
const GIB = 1024 ** 3

const placement = { launchId: 'launch_abcdefghjkmn', launcher: 'process', handle: '1', startedAt: ago(60) }
const tunnel = {
  isAttached: true,
  rttMs: 1,
  bytesSent: 1,
  bytesReceived: 1,
  bytesInFlight: 0,
  streams: 0,
  resumes: 0,
  resets: 0,
}
const connection = { online: true, since: ago(50), version: '0.1.0', capabilities: [], tunnel }

const machine: AgentHealth = {
  at: ago(0),
  scope: 'container',
  uptimeSeconds: 60,
  cpu: { cores: 2, used: 0.5, throttled: 0 },
  memory: { usedBytes: GIB, limitBytes: 4 * GIB, oomKills: 0 },
  processes: { total: 9, limit: 512, top: [] },
  disks: [{ holds: ['workspace', 'temporary'], totalBytes: 20 * GIB, freeBytes: 10 * GIB, freeFiles: 1e6 }],
  started: { running: 0, heldBytes: 0, heldBack: [] },
  events: 7,
  programs: { git: true, 'git-lfs': true, sshd: true },
}

interface Case {
  state?: Record<string, unknown>
  turn?: Record<string, unknown>
  agent?: Partial<AgentHealth>
  health?: Partial<TaskHealth>
  info?: Record<string, unknown>
  task?: Record<string, unknown>
}

/** A task that runs and is well, but for what is said. */
function facts({ state, turn, agent, health, info, task }: Case = {}): TaskFacts {
  const { outcome, reason, message, endedAt, incomplete, ...base } = aTask() as unknown as Record<string, unknown>
  const running = { state: 'running', placement, connection, since: ago(50) }
  const [first] = base.turns as object[]
  const { endedAt: _, result: __, ...open } = first as Record<string, unknown>
  const turns = [{ ...open, startedAt: ago(40), ...turn }]
  return {
    task: { ...base, turns, ...(state ?? running), ...task } as unknown as Task,
    health: {
      taskId: base.id as Task['id'],
      at: ago(0),
      state: 'running',
      ...(state === undefined && { agent: { ...machine, ...agent } }),
      eventsBehind: 0,
      gateway: { version: '0.1.0', freeBytes: 10 * GIB },
      ...health,
    },
    info: { version: '0.1.0', limits: { taskTimeout: 86_400 }, ...info } as unknown as GatewayInfo,
    nowMs: NOW,
  }
}

const ills = (one: Case) => taskFindings(facts(one)).filter(({ ok }) => !ok)

test('a task that is well has no ill, and its numbers are told', () => {
  const found = taskFindings(facts())
  expect(found.filter(({ ok }) => !ok)).toEqual([])
  expect(found.map(({ name, detail }) => `${name}: ${detail}`)).toEqual([
    'state: running for 50s',
    'agent: 0.1.0, answers',
    'tunnel: round trip 1.0ms, 0 B in flight',
    'cpu: 0.50 of 2 cores',
    'memory: 1.0 GiB of 4.0 GiB',
    'disk: 10.0 GiB of 20.0 GiB free (workspace, temporary)',
    'processes: 9 run of at most 512, 0 of them by exec, shell or ssh',
    'output: 0 B is held for clients',
    'events: all are on the gateway',
    'programs: all that rclaude uses are there',
    'gateway: 10.0 GiB free on the gateway',
  ])
})

const queued = (more: Record<string, unknown>) => ({
  state: { state: 'queued', waitingFor: 'launch', since: ago(90), ...more },
})

const causes: [cause: string, ill: Case, name: string, detail: RegExp][] = [
  ['files that never came', queued({ waitingFor: 'workspace' }), 'state', /files have not arrived/],
  ['a limit', queued({ limit: 'limits.maxTasks', position: 3 }), 'state', /3rd that waits for limits\.maxTasks/],
  [
    'no machine',
    queued({ launchFailures: 2, notBefore: ago(-30) }),
    'state',
    /no machine could be had, 2 times; tried again/,
  ],
  [
    'a gateway that was restored',
    { ...queued({}), info: { held: { kind: 'restored', message: 'held' } } },
    'state',
    /launches nothing/,
  ],
  [
    'a slow launch',
    { state: { state: 'launching', launchId: placement.launchId, since: ago(60) } },
    'state',
    /launching for 1m 00s/,
  ],
  [
    'an agent that never dialled in',
    { state: { state: 'starting', placement, since: ago(60) } },
    'state',
    /not dialled in/,
  ],
  [
    'credentials that were refused',
    {
      state: {
        state: 'ended',
        outcome: 'failed',
        reason: 'model_auth',
        message: 'no',
        endedAt: ago(1),
        incomplete: false,
      },
    },
    'state',
    /the model refused the credentials/,
  ],
  [
    'something that was not saved',
    {
      state: {
        state: 'ended',
        outcome: 'succeeded',
        reason: 'completed',
        message: '',
        endedAt: ago(1),
        incomplete: true,
      },
    },
    'state',
    /could not be saved/,
  ],
  [
    'an agent that is away',
    { task: { connection: { ...connection, online: false, tunnel: undefined } }, health: { agent: undefined } },
    'agent',
    /not connected for 50s/,
  ],
  [
    'an agent that does not answer',
    { health: { agent: undefined, agentError: 'too late' } },
    'agent',
    /does not answer: too late/,
  ],
  ['a clock that is off', { agent: { at: ago(90) } }, 'agent', /90 s off/],
  [
    'a lost connection',
    { task: { connection: { ...connection, tunnel: { ...tunnel, isAttached: false } } } },
    'tunnel',
    /lost at the moment/,
  ],
  [
    'a slow way',
    { task: { connection: { ...connection, tunnel: { ...tunnel, rttMs: 900 } } } },
    'tunnel',
    /slow: round trip 900ms/,
  ],
  [
    'a way that is cut',
    { task: { connection: { ...connection, tunnel: { ...tunnel, resumes: 12 } } } },
    'tunnel',
    /lost 12 times/,
  ],
  [
    'a full way',
    { task: { connection: { ...connection, tunnel: { ...tunnel, bytesInFlight: 3e6 } } } },
    'tunnel',
    /2\.9 MiB in flight/,
  ],
  [
    'money that is nearly spent',
    { turn: { budgetUsd: 1 }, task: { usage: { costUsd: 0.95 } } },
    'budget',
    /\$0\.95 of \$1\.00/,
  ],
  ['time that is nearly over', { turn: { startedAt: ago(86_000) } }, 'time', /of 1d 00h/],
  ['too little CPU', { agent: { cpu: { cores: 1, used: 1, throttled: 0.6 } } }, 'cpu', /held back 60%/],
  [
    'memory that is full',
    { agent: { memory: { usedBytes: 3.9 * GIB, limitBytes: 4 * GIB } } },
    'memory',
    /nearly full/,
  ],
  [
    'processes killed for memory',
    { agent: { memory: { usedBytes: 1, limitBytes: GIB, oomKills: 2 } } },
    'memory',
    /2 processes were killed/,
  ],
  [
    'a full disk',
    { agent: { disks: [{ holds: ['workspace'], totalBytes: GIB, freeBytes: 1e6 }] } },
    'disk',
    /nearly full/,
  ],
  [
    'a disk without room for files',
    { agent: { disks: [{ holds: ['temporary'], totalBytes: GIB, freeBytes: GIB, freeFiles: 3 }] } },
    'disk',
    /room for 3 more files/,
  ],
  ['too many processes', { agent: { processes: { total: 500, limit: 512, top: [] } } }, 'processes', /nearly all/],
  [
    'a client that does not read',
    { agent: { started: { running: 1, heldBytes: 8e6, heldBack: ['proc_abcdefghjkmn' as never] } } },
    'output',
    /proc_abcdefghjkmn waits for its client/,
  ],
  ['events that pile up', { health: { eventsBehind: 5_000 } }, 'events', /5000 behind/],
  ['no git', { agent: { programs: { git: false } } }, 'programs', /no git/],
  [
    'a gateway without room',
    { health: { gateway: { version: '0.1.0', freeBytes: 1e6 } } },
    'gateway',
    /976\.6 KiB free/,
  ],
]

test.each(causes)('%s is named as the cause, with what mends it', (_, ill, name, detail) => {
  const found = ills(ill)
  expect(found.map((one) => one.name)).toEqual([name])
  expect(found[0]?.detail).toMatch(detail)
  expect(found[0]?.fix?.length ?? 0).toBeGreaterThan(10)
})

test('a stop that was asked for is told', () => {
  const found = taskFindings(facts({ task: { stopRequested: { by: 'alice', at: ago(5), reason: 'enough' } } }))
  expect(found.find(({ name }) => name === 'stop')?.detail).toMatch(/alice 5\.0s ago \(enough\)/)
})

test('what is not there and nobody needs yet is no ill', () => {
  const found = taskFindings(facts({ agent: { programs: { git: true, 'git-lfs': false, sshd: false } } }))
  expect(found.find(({ name }) => name === 'programs')).toMatchObject({
    ok: true,
    detail: expect.stringMatching(/no git-lfs .*, no sshd/),
  })
})
