/** What a task came to: the closing block of a run, the outcome of a turn, and the exit code for it. */
import { EXIT_CODES } from '../protocol/errors.ts'
import type { RunResult } from '../protocol/event.ts'
import { OUTCOMES, type Outcome } from '../protocol/outcome.ts'
import type { Task } from '../protocol/task.ts'
import { formatSeconds } from '../protocol/units.ts'
import { oneLine } from './neutralise.ts'
import { count, type Paint, type Style } from './output.ts'

/** A result is there: the task ended, or its newest turn did and it is only kept. */
export interface Verdict {
  outcome: Outcome
  reason: string
  message: string
  result: RunResult | undefined
}

export const isKept = (task: Task): boolean => task.state === 'running' && task.keptUntil !== undefined

/** Undefined while the newest turn is under way. */
export function verdictOf(task: Task): Verdict | undefined {
  const result = task.turns.at(-1)?.result
  if (task.state === 'ended') {
    // A kept task may be stopped long after its turn was done: what the turn came to stands.
    const { outcome, reason, message } = task
    return { outcome, reason, message, result }
  }
  if (!isKept(task) || result === undefined) return undefined
  const { outcome, reason, message } = result
  return { outcome, reason, message, result }
}

/** A failed check turns a good end into a bad one; an outcome that only a newer gateway knows is none that scripts could tell. */
export function exitCodeOfTask(task: Task): number {
  const verdict = verdictOf(task)
  if (verdict === undefined) return EXIT_CODES.internal
  const isGood = verdict.outcome === 'succeeded' || verdict.outcome === 'no_changes'
  if (isGood && verdict.result?.check.verdict === 'failed') return EXIT_CODES.check_failed
  return OUTCOMES.includes(verdict.outcome) ? EXIT_CODES[verdict.outcome] : EXIT_CODES.internal
}

export function paintOutcome(style: Style, outcome: string): Paint {
  if (outcome === 'succeeded') return style.green
  return outcome === 'no_changes' || outcome === 'cancelled' ? style.yellow : style.red
}

export function summarise(task: Task, style: Style): string[] {
  const verdict = verdictOf(task)
  if (verdict === undefined) return [`${task.id} is ${task.state}`]
  const { outcome, reason, message, result } = verdict
  const isDoubtful = outcome === 'succeeded' && result?.check.verdict === 'failed'
  const paint = isDoubtful ? style.yellow : paintOutcome(style, outcome)
  const mark = isDoubtful ? '!' : outcome === 'succeeded' ? '✓' : outcome === 'no_changes' ? '○' : '✗'
  const head = `${paint(style.bold(`${mark} ${outcome}`))} ${oneLine(message)} ${style.dim(`(${reason})`)}`
  return [head, ...facts(task, result, style), '', ...nextCommands(task, result, style)]
}

function facts(task: Task, result: RunResult | undefined, style: Style): string[] {
  const rows: [string, string | undefined][] = [
    ['check', result === undefined ? undefined : checkText(task, result, style)],
    ['changed', result === undefined || task.spec.workspace.kind === 'none' ? undefined : changedText(result, style)],
    ['tokens', tokensText(task)],
    ['cost', task.usage.costUsd > 0 ? `$${task.usage.costUsd.toFixed(4)}` : undefined],
    ['machine', machineCostText(task)],
    ['time', result === undefined ? undefined : formatSeconds(result.durationMs / 1000)],
    ['task', task.id],
    ['kept', task.state === 'running' ? `until ${task.keptUntil}` : undefined],
    [
      'saved',
      result?.incomplete || (task.state === 'ended' && task.incomplete)
        ? style.yellow('not everything: see rclaude logs')
        : undefined,
    ],
  ]
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [`  ${style.dim(name.padEnd(8))} ${value}`]))
}

export function checkText(task: Task, result: RunResult, style: Style): string | undefined {
  const { verdict, durationMs, exitCode } = result.check
  if (verdict === 'none') return task.spec.check === undefined ? undefined : style.yellow('did not run')
  const paint = verdict === 'passed' ? style.green : style.red
  const code = verdict === 'failed' && typeof exitCode === 'number' ? ` exit code ${exitCode}` : ''
  const time = durationMs === undefined ? '' : ` ${formatSeconds(durationMs / 1000)}`
  return `${paint(verdict)} ${style.dim(`${oneLine(task.spec.check ?? '', 80)}${code}${time}`)}`
}

export function changedText(result: RunResult, style: Style): string {
  if (result.filesChanged === 0) return 'nothing'
  const { insertions, deletions } = result
  const lines = [
    insertions === undefined ? '' : ` ${style.green(`+${insertions}`)}`,
    deletions === undefined ? '' : ` ${style.red(`-${deletions}`)}`,
  ]
  return `${count(result.filesChanged, 'file')}${lines.join('')}`
}

/** `$0.0123 for 14m 20s`; undefined when nobody knows a price. */
export const machineCostText = ({ machineCost }: Task): string | undefined =>
  machineCost && `$${machineCost.usd.toFixed(4)} for ${formatSeconds(machineCost.seconds)}`

export function tokensText(task: Task): string | undefined {
  const { inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens } = task.usage
  const cached = cacheReadTokens + cacheWriteTokens
  if (inputTokens + outputTokens + cached === 0) return undefined
  const number = (value: number) => value.toLocaleString('en-US')
  return `${number(inputTokens)} in, ${number(outputTokens)} out${cached > 0 ? `, ${number(cached)} cached` : ''}`
}

function nextCommands(task: Task, result: RunResult | undefined, style: Style): string[] {
  const hasChange = (result?.filesChanged ?? 0) > 0 && task.spec.workspace.kind !== 'none'
  const commands: [string, string][] = []
  if (hasChange) {
    commands.push(['diff', 'look at the change'])
    commands.push(['apply', 'put it on your working tree'])
    commands.push(['pull', `get it as branch rclaude/${task.id}`])
  }
  if (isKept(task)) commands.push(['stop', 'end it before its time'])
  if (commands.length === 0) commands.push(['logs', 'read it again'], ['retry', 'do it again'])
  const widest = Math.max(...commands.map(([name]) => name.length)) + task.id.length + 9
  return commands.map(
    ([name, what]) => `  ${style.bold(`rclaude ${name} ${task.id}`.padEnd(widest))}  ${style.dim(what)}`,
  )
}
