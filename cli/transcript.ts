/**
 * Turns the events of a task into lines for people, one event at a time. What is finished becomes lines; what is under
 * way (a step, a tool call, an unfinished line of text) is in `running` until it is. The views differ only in what they
 * do with `running`: a terminal draws it below the lines, a pipe ignores it.
 *
 * Everything that a task says is neutralised here, before a style is put on it.
 */
import type { TaskEvent, Usage } from '../protocol/event.ts'
import { formatSeconds } from '../protocol/units.ts'
import { neutralise, oneLine } from './neutralise.ts'
import { count, type Style } from './output.ts'
import { type PlanEntry, type ReadUpdate, readUpdate } from './session-update.ts'

/** Longest title of a tool call or message in a line. */
const MAX_TITLE = 160
/** Of a failed tool call's output, the first lines are shown. */
const FAILURE_LINES = 4
/** An unfinished line longer than this is shown as it is. */
const MAX_PENDING = 16_384

export interface Running {
  label: string
  sinceMs: number
}

export class Transcript {
  readonly running = new Map<string, Running>()
  usage: Usage | undefined
  private pending: { kind: Flow; text: string; messageId: string | undefined } | undefined
  private plan: PlanEntry[] = []
  /** The limit that the task waited for when it was last said. */
  private heldBy: string | undefined
  private readonly style: Style

  constructor(style: Style) {
    this.style = style
  }

  /** Lines that are finished with this event. */
  add(event: TaskEvent): string[] {
    const { style } = this
    const atMs = Date.parse(event.at)
    switch (event.type) {
      case 'session_update': {
        const update = readUpdate(event.update)
        return update === undefined ? [] : this.update(update, atMs)
      }
      case 'output':
        return this.flow(`${event.step}:${event.channel}`, event.text, undefined)
      case 'step':
        return [...this.flush(), ...this.step(event, atMs)]
      case 'turn_started':
        this.plan = []
        return event.turn === 1 ? [] : [...this.flush(), '', style.cyan(`› ${oneLine(event.prompt, MAX_TITLE)}`)]
      case 'turn_ended':
        this.usage = event.result.usage
        return this.settle()
      case 'usage':
        this.usage = event.usage
        return []
      case 'checkpoint':
        return [
          ...this.flush(),
          style.dim(`· checkpoint ${oneLine(event.commit).slice(0, 7)} (${count(event.filesChanged, 'file')} changed)`),
        ]
      case 'warning':
        return [...this.flush(), style.yellow(`! ${oneLine(event.message)}`)]
      case 'gap':
        return [
          ...this.flush(),
          style.yellow(`! ${event.count} of ${oneLine(event.what)} were dropped: a quota was reached`),
        ]
      case 'connection':
        return event.online ? this.online(atMs) : this.offline(atMs)
      case 'state':
        return this.state(event, atMs)
      case 'raw':
        return []
      default:
        return event satisfies never
    }
  }

  /**
   * Where it stands in the queue, as the gateway says it now and then.
   * @returns whether it is worth a line: the first place in a line, not each step forward
   */
  queued(place: string | undefined): boolean {
    const waiting = this.running.get('queued')
    if (place === undefined || waiting === undefined) return false
    this.running.set('queued', { label: `queued, ${oneLine(place, MAX_TITLE)}`, sinceMs: waiting.sinceMs })
    const limit = place.split('; ').at(-1) ?? ''
    const isNew = limit !== this.heldBy
    this.heldBy = limit
    return isNew
  }

  /** Lines of what was cut short. */
  flush(): string[] {
    const { pending } = this
    this.pending = undefined
    return pending === undefined || pending.text === ''
      ? []
      : paragraphs(pending.text).map((line) => this.dress(pending.kind, line))
  }

  private settle(): string[] {
    const lines = this.flush()
    for (const key of [...this.running.keys()]) if (key.startsWith('tool:')) this.running.delete(key)
    return lines
  }

  private state(event: TaskEvent & { type: 'state' }, atMs: number): string[] {
    if (event.state === 'queued')
      this.running.set('queued', {
        label: `queued${event.message === undefined ? '' : `, ${oneLine(event.message, MAX_TITLE)}`}`,
        sinceMs: atMs,
      })
    else this.running.delete('queued')
    if (event.state !== 'ended') return []
    const lines = this.settle()
    this.running.clear()
    return lines
  }

  private step(event: TaskEvent & { type: 'step' }, atMs: number): string[] {
    const { style } = this
    const key = `step:${event.step}`
    const began = this.running.get(key)
    const message = event.message === undefined ? '' : ` ${style.dim(oneLine(event.message, MAX_TITLE))}`
    if (event.status === 'started') {
      // It may say more than once how far it is.
      this.running.set(key, { label: `${event.step}${message}`, sinceMs: began?.sinceMs ?? atMs })
      return []
    }
    this.running.delete(key)
    if (event.status === 'skipped') return []
    const tookMs = event.durationMs ?? (began === undefined ? undefined : atMs - began.sinceMs)
    const name = event.status === 'failed' ? `${style.red('✗')} ${event.step}` : `${style.green('✓')} ${event.step}`
    return [`${name}${message}${took(style, tookMs)}`]
  }

  private offline(atMs: number): string[] {
    this.running.set('offline', { label: 'the machine of the task is not connected', sinceMs: atMs })
    return [...this.flush(), this.style.yellow('! the machine of the task lost its connection; the task goes on')]
  }

  private online(atMs: number): string[] {
    const lost = this.running.get('offline')
    this.running.delete('offline')
    return lost === undefined
      ? []
      : [...this.flush(), `${this.style.green('✓')} connected again${took(this.style, atMs - lost.sinceMs)}`]
  }

  private update(update: ReadUpdate, atMs: number): string[] {
    switch (update.kind) {
      case 'text':
      case 'thought':
        return this.flow(update.kind, update.text, update.messageId)
      case 'user':
        return [] // the prompt, which `turn_started` tells
      case 'tool':
        return [...this.flush(), ...this.tool(update, atMs)]
      case 'plan':
        return [...this.flush(), ...this.changedPlan(update.entries)]
    }
  }

  private tool(update: ReadUpdate & { kind: 'tool' }, atMs: number): string[] {
    const { style } = this
    const key = `tool:${update.id}`
    const began = this.running.get(key)
    const title = update.title === undefined ? undefined : oneLine(update.title, MAX_TITLE)
    const label = title ?? began?.label ?? 'tool'
    if (update.status !== 'completed' && update.status !== 'failed') {
      this.running.set(key, { label, sinceMs: began?.sinceMs ?? atMs })
      return []
    }
    this.running.delete(key)
    const time = took(style, began === undefined ? undefined : atMs - began.sinceMs)
    if (update.status === 'completed') return [`${style.cyan('●')} ${label} ${style.green('✓')}${time}`]
    const why = neutralise(update.output ?? '')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(0, FAILURE_LINES)
      .map((line) => style.dim(`  │ ${oneLine(line, MAX_TITLE)}`))
    return [`${style.cyan('●')} ${label} ${style.red('✗')}${time}`, ...why]
  }

  /** The whole plan at first, later what changed in it. */
  private changedPlan(entries: PlanEntry[]): string[] {
    const before = new Map(this.plan.map((entry) => [entry.content, entry.status]))
    this.plan = entries
    const { style } = this
    const marks = { pending: '☐', in_progress: style.yellow('▶'), completed: style.green('☑') }
    return entries
      .filter((entry) => before.get(entry.content) !== entry.status)
      .map((entry) => `  ${marks[entry.status]} ${oneLine(entry.content, MAX_TITLE)}`)
  }

  /** Text that comes in pieces. Pieces of one message are joined; a message without an id is whole. */
  private flow(kind: Flow, text: string, messageId: string | undefined): string[] {
    const isOutput = kind.includes(':')
    const continues =
      this.pending?.kind === kind && (isOutput || (messageId !== undefined && this.pending.messageId === messageId))
    const lines = continues ? [] : this.flush()
    const all = (continues ? (this.pending?.text ?? '') : '') + text
    const isWhole = !isOutput && messageId === undefined
    const cut = isWhole || all.length > MAX_PENDING ? all.length : all.lastIndexOf('\n') + 1
    this.pending = { kind, text: all.slice(cut), messageId }
    if (cut === 0) return lines
    return [...lines, ...paragraphs(all.slice(0, cut)).map((line) => this.dress(kind, line))]
  }

  private dress(kind: Flow, line: string): string {
    const { style } = this
    if (kind === 'text' || kind === 'agent:stdout') return line
    if (kind === 'thought') return style.dim(line === '' ? '' : `∴ ${line}`)
    if (kind === 'agent:stderr') return style.yellow(line)
    return style.dim(`  │ ${line}`.trimEnd())
  }
}

/** `text`, `thought`, or `STEP:CHANNEL` of a process's output. */
type Flow = string

const paragraphs = (text: string): string[] => neutralise(text).replace(/\n$/, '').split('\n')

const took = (style: Style, ms: number | undefined): string =>
  ms === undefined || ms < 0 ? '' : ` ${style.dim(formatSeconds(ms / 1000))}`
