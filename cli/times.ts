/** Ages and durations of a task. */
import type { Task } from '../protocol/task.ts'
import { formatSeconds } from '../protocol/units.ts'

export const ageText = (task: Task, nowMs: number): string => agoText(task.createdAt, nowMs)
export const agoText = (iso: string, nowMs: number): string => roughly((nowMs - Date.parse(iso)) / 1000)

/** From the first start of work to the end of the newest turn; empty when nothing has started. */
export function durationText(task: Task, nowMs: number): string {
  const started = task.turns[0]?.startedAt
  if (started === undefined) return ''
  const ended = task.turns.at(-1)?.endedAt
  return formatSeconds(Math.max(0, (ended === undefined ? nowMs : Date.parse(ended)) - Date.parse(started)) / 1000)
}

/** `5s`, `12m`, `3h`, `2d`. */
export function roughly(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}
