/** An agent one release newer than its gateway is legal: what the gateway does not know is kept within the limits, and no reason to end a task. */
import { expect, test } from 'vitest'
import type { TaskEvent } from '../../protocol/event.ts'
import { eventually } from '../helpers/eventually.ts'
import { dialAs, newCredential, type Serve, type StubGateway, startStubGateway } from '../helpers/stub-gateway.ts'

const event = (agentSeq: number, body: object): string =>
  `${JSON.stringify({ agentSeq, at: '2026-01-01T00:00:00Z', turn: 1, ...body })}\n`

const USAGE = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, costUsd: 0, turns: 1 }
const POSTPONED = {
  outcome: 'postponed',
  reason: 'completed',
  message: 'Later',
  check: { verdict: 'none' },
  usage: USAGE,
  durationMs: 1,
  filesChanged: 0,
}

/** A task whose agent says this, once. */
async function saying(gateway: StubGateway, lines: string): Promise<string> {
  const launch = await gateway.launch()
  const serve: Serve = (request, response) => {
    if (request.url?.startsWith('/events?') !== true) return false
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).write(lines)
    return true
  }
  await dialAs(gateway, { ...launch, credential: newCredential() }, serve)
  return launch.taskId
}

async function eventsOf(gateway: StubGateway, taskId: string): Promise<TaskEvent[]> {
  const events: TaskEvent[] = []
  for await (const one of gateway.api.events(taskId)) if (one.source === 'agent') events.push(one)
  return events
}

test('events that the gateway does not know are kept as they are, and the task goes on', async () => {
  const gateway = await startStubGateway()
  const hologram = { type: 'hologram', frames: [1, 2], deep: { er: 'x' } }
  const rehearsal = { type: 'step', step: 'rehearsal', status: 'started' }
  const checkpoint = { type: 'checkpoint', commit: 'c0ffee', filesChanged: 1 }
  const taskId = await saying(gateway, event(1, hologram) + event(2, rehearsal) + event(3, checkpoint))
  await eventually(
    'what came after them is stored',
    async () => (await gateway.getTask(taskId)).workspace.checkpoint === 'c0ffee',
  )
  expect((await gateway.getTask(taskId)).state).toBe('running')
  expect(await eventsOf(gateway, taskId)).toMatchObject([
    { type: 'raw', program: 'agent', line: hologram },
    { type: 'raw', program: 'agent', line: rehearsal },
    { type: 'checkpoint' },
  ])
})

test('they count like every event: beyond the limit, a gap says how many were left out', async () => {
  const gateway = await startStubGateway({ limits: { events: '64KiB' } })
  const holograms = Array.from({ length: 500 }, (_, n) => event(n + 1, { type: 'hologram', data: 'x'.repeat(1_000) }))
  const last = event(501, { type: 'checkpoint', commit: 'c0ffee', filesChanged: 1 })
  const taskId = await saying(gateway, holograms.join('') + last)
  await eventually(
    'what came after them is stored',
    async () => (await gateway.getTask(taskId)).workspace.checkpoint === 'c0ffee',
  )
  const events = await eventsOf(gateway, taskId)
  const kept = events.filter(({ type }) => type === 'raw').length
  const left = events.reduce((sum, one) => sum + (one.type === 'gap' ? one.count : 0), 0)
  expect(left).toBeGreaterThan(100)
  expect(kept + left).toBe(500)
})

test('a turn that ends in words that the gateway does not know has failed, and says them', async () => {
  const gateway = await startStubGateway()
  const taskId = await saying(gateway, event(1, { type: 'turn_ended', result: POSTPONED }))
  const task = await eventually('the task is ending', async () => {
    const now = await gateway.getTask(taskId)
    return (now.state === 'finishing' || now.state === 'ended') && now
  })
  expect(task).toMatchObject({
    outcome: 'failed',
    reason: 'completed',
    message: 'Later (in words of a newer agent: postponed)',
  })
})
