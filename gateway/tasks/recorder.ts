/**
 * Copies what the agent says into the store: one request for everything after the last event stored, followed as long as
 * the link lives. Whatever is lost on the way is asked for again, and nothing is stored twice.
 */
import type { Readable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { type AgentEvent, readAgentEvent } from '../../protocol/event.ts'
import type { Task } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { consequences } from './consequences.ts'
import { isOver, type TaskContext } from './context.ts'
import { leave } from './ending.ts'
import { createEventQuota } from './event-quota.ts'

/** Most events stored in one transaction. */
const MAX_BATCH = 500
const RETRY_MS = 1_000

/** Runs until the link is closed. */
export async function record(context: TaskContext, link: AgentLink): Promise<void> {
  while (!link.signal.aborted) {
    try {
      await follow(context, link)
    } catch (error) {
      if (link.signal.aborted) return
      context.log.warn({ err: error, taskId: link.taskId }, 'cannot record events')
      if (error instanceof RclaudeError && error.code === 'invalid') return cutOff(context, link, error.message)
    }
    await pause(RETRY_MS, link.signal)
  }
}

/** Such an agent would say the same again: its task ends here, with the reason. */
function cutOff(context: TaskContext, link: AgentLink, message: string): void {
  link.close('events are not valid')
  try {
    context.store.changeTask(link.taskId, (task) =>
      task.state === 'running' && task.placement.launchId === link.launchId
        ? leave(task, 'failed', 'internal', message)
        : undefined,
    )
    context.wake(link.taskId)
  } catch (error) {
    context.log.error({ err: error, taskId: link.taskId }, 'cannot end the task of an agent that was cut off')
  }
}

async function follow(context: TaskContext, link: AgentLink): Promise<void> {
  const since = context.store.lastAgentSeq(link.launchId)
  const body = await link.stream(`/events?since=${since}&follow=1`)
  const { limits } = context.config
  const withinQuota = createEventQuota({
    limitBytes: limits.events,
    reserveBytes: limits.eventsReserve,
    storedBytes: () => context.store.eventBytes(link.taskId),
  })
  let last = since
  for await (const lines of lineBatches(body, limits.event)) {
    for (let from = 0; from < lines.length; from += MAX_BATCH) {
      const events = lines.slice(from, from + MAX_BATCH).map(parse)
      for (const { agentSeq } of events) {
        if (agentSeq <= last)
          throw new RclaudeError('invalid', `the agent sent event ${agentSeq} after event ${last}: numbers must grow`)
        last = agentSeq
      }
      store(context, link, withinQuota(events))
    }
  }
}

function store(context: TaskContext, link: AgentLink, events: AgentEvent[]): void {
  const task = context.store.recordEvents(link.launchId, events, (now, fresh) =>
    consequences(now, fresh, link.launchId),
  )
  if (task !== undefined && needsAttention(task)) context.wake(task.id)
}

const needsAttention = (task: Task): boolean =>
  task.state === 'finishing' || (task.state === 'running' && task.keptUntil !== undefined && isOver(task.keptUntil, 0))

function parse(line: string): AgentEvent {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new RclaudeError('invalid', 'the agent sent an event that is no JSON', { cause: error })
  }
  const event = readAgentEvent(value)
  if (event === undefined) throw new RclaudeError('invalid', 'the agent sent an event of an unknown shape')
  return event
}

/** The complete lines of each chunk, together: what arrived together is stored together. */
async function* lineBatches(body: Readable, maxBytes: number): AsyncGenerator<string[]> {
  let pending: Buffer[] = []
  let pendingBytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    const end = chunk.lastIndexOf(10)
    if (end < 0) {
      pending.push(chunk)
      pendingBytes += chunk.length
      if (pendingBytes > maxBytes)
        throw new RclaudeError(
          'invalid',
          `the agent sent an event of more than ${formatBytes(maxBytes)} (limits.event)`,
        )
      continue
    }
    const text = Buffer.concat([...pending, chunk.subarray(0, end)]).toString('utf8')
    const rest = chunk.subarray(end + 1)
    pending = rest.length > 0 ? [rest] : []
    pendingBytes = rest.length
    const lines = text.split('\n').filter((line) => line !== '')
    if (lines.length > 0) yield lines
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    function done() {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
