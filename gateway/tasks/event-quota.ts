/**
 * What of an agent's events is stored once the task's log is full: what its fate hangs on, and a gap that counts the
 * rest. Gaps are written seldom, so that a task that goes on printing for days does not grow its log by them; what is
 * still to be counted when the connection breaks is read and counted again on the next one.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import type { AgentEvent, EventType } from '../../protocol/event.ts'
import { formatBytes } from '../../protocol/units.ts'

const VITAL: ReadonlySet<EventType> = new Set(['turn_started', 'turn_ended', 'step', 'checkpoint'])
const GAP_INTERVAL_MS = 10_000

export interface EventQuotaOptions {
  limitBytes: number
  /** What the vital ones may take beyond it: not without end either, an honest agent says a few thousand in days. */
  reserveBytes: number
  /** What the task's log holds now. */
  storedBytes(): number
  now?: () => number
}

/** @returns what keeps, of each batch in its order, the part that is to be stored */
export function createEventQuota(options: EventQuotaOptions): (events: AgentEvent[]) => AgentEvent[] {
  const now = options.now ?? Date.now
  let dropped: { last: AgentEvent; count: number } | undefined
  let gapAt = Number.NEGATIVE_INFINITY

  function takeGap(): AgentEvent[] {
    if (dropped === undefined) return []
    const { last, count } = dropped
    const { agentSeq, at, turn } = last
    dropped = undefined
    gapAt = now()
    return [{ agentSeq, at, turn, type: 'gap', what: 'events beyond limits.events', count }]
  }

  return (events) => {
    const stored = options.storedBytes()
    if (stored < options.limitBytes && dropped === undefined) return events
    if (stored > options.limitBytes + options.reserveBytes)
      throw new RclaudeError(
        'invalid',
        `the agent goes on sending events: its log has ${formatBytes(stored)}, more than limits.events (${formatBytes(options.limitBytes)}) and limits.eventsReserve (${formatBytes(options.reserveBytes)})`,
      )
    const kept: AgentEvent[] = []
    for (const event of events) {
      if (VITAL.has(event.type)) kept.push(...takeGap(), event)
      else dropped = { last: event, count: (dropped?.count ?? 0) + 1 }
    }
    if (now() - gapAt >= GAP_INTERVAL_MS) kept.push(...takeGap())
    return kept
  }
}
