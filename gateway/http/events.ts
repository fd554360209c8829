/** The event log as NDJSON or server-sent events, from any point on. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskEvent } from '../../protocol/event.ts'
import { followEvents } from '../tasks/follow.ts'
import { type Handlers, taskOf } from './context.ts'
import { streamText } from './stream.ts'

export const eventHandlers: Pick<Handlers, 'events'> = {
  events(call) {
    const { c, deps, query } = call
    const isSse = (c.req.header('accept') ?? '').includes('text/event-stream')
    const lastEventId = c.req.header('last-event-id')
    const since = lastEventId === undefined ? query.since : Number(lastEventId)
    if (!Number.isInteger(since) || since < 0)
      throw new RclaudeError('invalid', 'Last-Event-ID is the number of the last event received')
    const batches = (signal: AbortSignal) =>
      followEvents(deps.store, taskOf(call).id, {
        since,
        follow: query.follow,
        limit: query.limit,
        signal,
        heartbeatMs: deps.config.intervals.eventComment * 1000,
      })
    const write = isSse ? sse : ndjson
    return streamText(c, isSse ? 'text/event-stream' : 'application/x-ndjson', async function* (signal) {
      for await (const events of batches(signal)) yield write(events)
      if (isSse && !signal.aborted) yield 'event: end\ndata: {}\n\n'
    })
  },
}

/** An empty batch is a sign of life: an empty line, or a comment. */
const ndjson = (events: TaskEvent[]): string =>
  events.length === 0 ? '\n' : events.map((event) => `${JSON.stringify(event)}\n`).join('')

const sse = (events: TaskEvent[]): string =>
  events.length === 0
    ? ': still here\n\n'
    : events.map((event) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('')
