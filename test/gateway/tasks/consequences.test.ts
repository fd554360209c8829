import { expect, test } from 'vitest'
import { consequences } from '../../../gateway/tasks/consequences.ts'
import { type AgentEvent, type EventBody, NO_USAGE, type RunResult } from '../../../protocol/event.ts'
import { newLaunchId, newTaskId } from '../../../protocol/ids.ts'
import { type Task, TaskSpec } from '../../../protocol/task.ts'

const NOW = '2026-01-01T00:00:00.000Z'
const launchId = newLaunchId()
const placement = { launchId, launcher: 'process', handle: '1', startedAt: NOW }

const running = (more: Partial<Task> = {}, keepSeconds = 0): Task =>
  ({
    id: newTaskId(),
    owner: 'alice',
    spec: TaskSpec.parse({ prompt: 'do it', workspace: { kind: 'none' }, keepSeconds }),
    createdAt: NOW,
    turns: [{ turn: 1, prompt: 'do it', createdAt: NOW }],
    workspace: {},
    usage: NO_USAGE,
    lastSeq: 0,
    state: 'running',
    placement,
    connection: { online: true, since: NOW, version: '1', capabilities: [] },
    since: NOW,
    ...more,
  }) as Task

const result = (outcome: RunResult['outcome'], inputTokens = 10): RunResult => ({
  outcome,
  reason: 'completed',
  message: 'done',
  check: { verdict: 'none' },
  usage: { ...NO_USAGE, inputTokens, turns: 1 },
  durationMs: 5,
  filesChanged: 1,
})

const said = (...bodies: EventBody[]): AgentEvent[] =>
  bodies.map((body, index) => ({ agentSeq: index + 1, at: NOW, turn: 1, ...body }))

test('the end of the turn is the end of the task', () => {
  const change = consequences(running(), said({ type: 'turn_ended', result: result('succeeded') }), launchId)
  expect(change?.state).toMatchObject({ state: 'finishing', outcome: 'succeeded', placement })
  expect(change?.turns?.[0]).toMatchObject({ endedAt: NOW, result: { outcome: 'succeeded' } })
  expect(change?.usage?.inputTokens).toBe(10)
})

test('a task that is to be kept stays, and says until when', () => {
  const change = consequences(running({}, 60), said({ type: 'turn_ended', result: result('succeeded') }), launchId)
  expect(change?.state).toMatchObject({ state: 'running', keptUntil: expect.any(String) })
})

test('a stop that was asked for wins over what the agent says', () => {
  const stopRequested = { by: 'alice', at: NOW, reason: 'enough' }
  const change = consequences(
    running({ stopRequested }, 60),
    said({ type: 'turn_ended', result: result('succeeded') }),
    launchId,
  )
  expect(change?.state).toMatchObject({ state: 'finishing', outcome: 'cancelled', reason: 'user', message: 'enough' })
  expect(change?.turns?.[0]?.result?.outcome).toBe('cancelled')
})

test('events that arrive together count one after the other', () => {
  const change = consequences(
    running(),
    said(
      { type: 'turn_started', prompt: 'do it' },
      { type: 'checkpoint', commit: 'c1', filesChanged: 1, sessionId: 's' },
      { type: 'turn_ended', result: result('succeeded') },
      { type: 'turn_ended', result: result('failed') },
      { type: 'usage', usage: { ...NO_USAGE, inputTokens: 11 } },
    ),
    launchId,
  )
  expect(change?.turns?.[0]).toMatchObject({ startedAt: NOW, result: { outcome: 'succeeded' } })
  expect(change?.workspace).toEqual({ checkpoint: 'c1', sessionId: 's' })
  expect(change?.state).toMatchObject({ state: 'finishing', outcome: 'succeeded' })
  expect(change?.usage?.inputTokens).toBe(11)
})

test('usage of later turns is added to that of earlier ones', () => {
  const turns = [
    { turn: 1, prompt: 'a', createdAt: NOW, endedAt: NOW, result: result('succeeded', 100) },
    { turn: 2, prompt: 'b', createdAt: NOW },
  ]
  const events = said({ type: 'usage', usage: { ...NO_USAGE, inputTokens: 7 } }).map((event) => ({ ...event, turn: 2 }))
  expect(consequences(running({ turns }), events, launchId)?.usage?.inputTokens).toBe(107)
})

test("another placement's agent changes nothing", () => {
  expect(
    consequences(running(), said({ type: 'turn_ended', result: result('succeeded') }), newLaunchId()),
  ).toBeUndefined()
})
