/**
 * What one sees of a run: on a terminal, lines that scroll and a live area below them; in a pipe, plain lines; with
 * --json, the events themselves. All three are fed the same.
 */
import type { TaskEvent } from '../protocol/event.ts'
import type { Task } from '../protocol/task.ts'
import { formatSeconds } from '../protocol/units.ts'
import { safeJson } from './neutralise.ts'
import { type Style, styleFor, write } from './output.ts'
import { startLine, taskLine } from './run-output.ts'
import { exitCodeOfTask, summarise } from './summary.ts'
import { LiveArea } from './terminal.ts'
import { Transcript } from './transcript.ts'
import type { World } from './world.ts'

export interface Step {
  progress(text: string): void
  done(text?: string): Promise<void>
  failed(): Promise<void>
}

export interface RunView {
  /** A part of the work that happens on this side. */
  step(name: string): Step
  /** The task is there, and is watched from here on. */
  begin(taskId: string): Promise<void>
  event(event: TaskEvent): Promise<void>
  /** Where the task stands in the queue; undefined when no limit holds it any more. */
  queued(place: string | undefined): Promise<void>
  warn(text: string): Promise<void>
  note(text: string): Promise<void>
  /** While a question stands on the screen. */
  pause(): void
  resume(): Promise<void>
  /** The closing block. */
  summary(task: Task): Promise<void>
  close(): Promise<void>
}

export interface ViewOptions {
  json: boolean
  /** Where lines go; stdout unless that is kept for something else. */
  stream?: NodeJS.WriteStream
  now?: () => number
}

export function openView(world: World, options: ViewOptions): RunView {
  const stream = options.stream ?? world.stdout
  const style = styleFor(stream, world.env)
  if (options.json) return jsonView(stream, world.stderr)
  const isLive = stream.isTTY === true && world.env.TERM !== 'dumb'
  return isLive ? liveView(stream, style, options.now ?? Date.now) : plainView(stream, style, options.now ?? Date.now)
}

export function plainView(stream: NodeJS.WritableStream, style: Style, now: () => number): RunView {
  const transcript = new Transcript(style)
  const print = async (lines: readonly string[]) => {
    if (lines.length > 0) await write(stream, lines.map((line) => `${line}\n`).join(''))
  }
  return {
    step: (name) => {
      const began = now()
      return {
        progress: () => {},
        done: (text) => print([doneLine(style, name, text, now() - began)]),
        failed: () => print([`${style.red('✗')} ${name}`]),
      }
    },
    begin: async () => {},
    event: (event) => print(transcript.add(event)),
    queued: (place) => print(transcript.queued(place) ? [style.dim(`· queued, ${place}`)] : []),
    warn: (text) => print([style.yellow(`! ${text}`)]),
    note: (text) => print([text]),
    pause: () => {},
    resume: async () => {},
    summary: (task) => print(['', ...summarise(task, style)]),
    close: () => print(transcript.flush()),
  }
}

function liveView(stream: NodeJS.WriteStream, style: Style, now: () => number): RunView {
  const transcript = new Transcript(style)
  const steps = new Map<string, { text: string; sinceMs: number }>()
  const area = new LiveArea(stream, () => [
    ...[...steps].map(([name, { text, sinceMs }]) =>
      live(`${name}${text === '' ? '' : ` ${style.dim(text)}`}`, sinceMs),
    ),
    ...[...transcript.running.values()].map(({ label, sinceMs }) => live(label, sinceMs)),
    ...meter(transcript),
  ])
  const live = (label: string, sinceMs: number) =>
    `${label} ${style.dim(formatSeconds(Math.max(0, now() - sinceMs) / 1000))}`
  const meter = ({ usage, running }: Transcript) =>
    usage === undefined || running.size === 0
      ? []
      : [
          style.dim(
            `${(usage.inputTokens + usage.outputTokens).toLocaleString('en-US')} tokens, $${usage.costUsd.toFixed(4)}`,
          ),
        ]
  return {
    step: (name) => {
      const sinceMs = now()
      steps.set(name, { text: '', sinceMs })
      return {
        progress: (text) => void steps.set(name, { text, sinceMs }),
        done: (text) => {
          steps.delete(name)
          return area.append([doneLine(style, name, text, now() - sinceMs)])
        },
        failed: () => {
          steps.delete(name)
          return area.append([`${style.red('✗')} ${name}`])
        },
      }
    },
    begin: async () => {},
    event: (event) => area.append(transcript.add(event)),
    queued: async (place) => void transcript.queued(place), // the area below draws it
    warn: (text) => area.append([style.yellow(`! ${text}`)]),
    note: (text) => area.append([text]),
    pause: () => area.pause(),
    resume: () => area.resume(),
    summary: async (task) => {
      transcript.running.clear()
      await area.append([...transcript.flush(), '', ...summarise(task, style)])
    },
    close: async () => {
      await area.append(transcript.flush())
      await area.close()
    },
  }
}

/** NDJSON as protocol/run-output.ts tells. Words for people go to stderr. */
function jsonView(stream: NodeJS.WritableStream, stderr: NodeJS.WritableStream): RunView {
  const step: Step = { progress: () => {}, done: async () => {}, failed: async () => {} }
  return {
    step: () => step,
    begin: (taskId) => write(stream, `${startLine(taskId)}\n`),
    event: (event) => write(stream, `${safeJson(event)}\n`),
    queued: async () => {},
    warn: (text) => write(stderr, `rclaude: ${text}\n`),
    note: (text) => write(stderr, `${text}\n`),
    pause: () => {},
    resume: async () => {},
    summary: (task) => write(stream, `${taskLine(task, exitCodeOfTask(task))}\n`),
    close: async () => {},
  }
}

const doneLine = (style: Style, name: string, text: string | undefined, ms: number): string =>
  `${style.green('✓')} ${name}${text === undefined ? '' : ` ${text}`} ${style.dim(formatSeconds(ms / 1000))}`
