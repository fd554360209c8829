/**
 * One turn from start to result: workspace, setup, coding agent, check, save. Whatever ends it early, what was done by
 * then is saved, and the result says what happened. Nothing here throws: a surprise becomes a result as well.
 */
import {
  type Check,
  type EventBody,
  MAX_WITHHELD_TOLD,
  NO_USAGE,
  type RunResult,
  type Step,
} from '../../protocol/event.ts'
import type { Outcome, Reason } from '../../protocol/outcome.ts'
import type { RunSpec } from '../../protocol/run.ts'
import type { Adapter, AdapterResult, Session } from '../adapters/adapter.ts'
import type { WorkUser } from '../processes/child.ts'
import type { SavedTurn, TurnWorkspace } from '../workspace/turn-workspace.ts'
import { withheldText } from '../workspace/withhold.ts'
import { type Checkpoints, startCheckpoints } from './checkpoints.ts'
import { composeWarning } from './compose-file.ts'
import { engineAnswers } from './docker-engine.ts'
import { runShell } from './shell.ts'
import type { Stop } from './stop.ts'
import { startWatchdog, type Watchdog } from './watchdog.ts'

export interface TurnOptions {
  spec: RunSpec
  adapter: Adapter
  workspace: TurnWorkspace
  /** An earlier turn of this placement fetched the workspace and ran the setup. */
  isPrepared: boolean
  /** Both are done. */
  onPrepared(): void
  env: Record<string, string>
  cwd: string
  home: string
  /** Of the task's Docker engine, if it has one. */
  engineSocket?: string | undefined
  /** Fires, with an Error for people, when that is known to have ended. */
  engineEnded?: AbortSignal
  user: WorkUser | undefined
  stop: Stop
  /** Takes events, secrets masked; resolves when it can take more. */
  emit(event: EventBody): Promise<void>
  saveArtifacts(): Promise<void>
}

/** What the work came to, before it is known whether files changed. */
type Ending = Pick<AdapterResult, 'usage' | 'costUnknown' | 'summary' | 'exitCode' | 'sessionId'> & {
  outcome: Outcome
  reason: Reason
  message: string
}

export async function runTurn(options: TurnOptions): Promise<RunResult> {
  const startedAt = Date.now()
  const { spec, stop } = options
  const watchdog = startWatchdog({
    limits: spec.limits,
    stop,
    keys: spec.limitKeys,
    warn: (message) => void options.emit({ type: 'warning', message }).catch(() => {}), // a log that takes no more
  })
  const session: RunningSession = {}
  let checkpoints: Checkpoints | undefined
  let check: Check = { verdict: 'none' }
  let ending: Ending
  try {
    const unprepared = await prepare(options)
    if (unprepared === undefined)
      checkpoints = startCheckpoints({
        everySeconds: spec.checkpointSeconds,
        workspace: options.workspace,
        sessionId: () => session.current?.sessionId,
        emit: options.emit,
      })
    const early = unprepared ?? (await setUp(options))
    if (early === undefined && stop.cause === undefined) options.onPrepared()
    ending = early ?? (await work(options, session, watchdog))
    if (ending.outcome === 'succeeded' && spec.check !== undefined) check = await runCheck(options, spec.check)
  } catch (error) {
    ending = failed('internal', `the agent failed: ${messageOf(error)}`)
  } finally {
    watchdog.stop()
    await checkpoints?.stop()
  }
  const cause = stop.cause
  if (cause !== undefined) ending = { ...ending, ...cause }
  return save(options, ending, check, startedAt)
}

/** The coding agent of the turn, once it runs. */
interface RunningSession {
  current?: Session
}

/** @returns an ending when the turn cannot go on */
async function prepare(options: TurnOptions): Promise<Ending | undefined> {
  if (options.isPrepared) return undefined
  try {
    const missing = await step(options, 'workspace', () => options.workspace.prepare(options.stop.signal))
    const compose = await composeWarning(options.cwd, options.env)
    for (const message of [...missing, ...(compose === undefined ? [] : [compose])])
      await options.emit({ type: 'warning', message })
  } catch (error) {
    return failed('workspace', `the workspace could not be fetched: ${messageOf(error)}`)
  }
  try {
    const { engineSocket, engineEnded, user, stop } = options
    const signal = engineEnded === undefined ? stop.signal : AbortSignal.any([stop.signal, engineEnded])
    if (engineSocket !== undefined) await engineAnswers(engineSocket, user, signal)
    return undefined
  } catch (error) {
    return failed('launch', messageOf(error))
  }
}

async function setUp(options: TurnOptions): Promise<Ending | undefined> {
  const { setup } = options.spec
  if (setup === undefined || options.isPrepared || options.stop.cause !== undefined) return undefined
  const exit = await step(options, 'setup', async () => {
    const ended = await runShell({ ...options, step: 'setup', command: setup, signal: options.stop.signal })
    if (ended.code !== 0) throw new SetupFailed(ended.code, ended.signal)
  }).catch((error: unknown) => error)
  return exit === undefined ? undefined : failed('setup', messageOf(exit))
}

class SetupFailed extends Error {
  constructor(code: number | null, signal: string | null) {
    super(`the setup command ${code === null ? `was ended by ${signal}` : `exited with ${code}`}`)
  }
}

async function work(options: TurnOptions, running: RunningSession, watchdog: Watchdog): Promise<Ending> {
  const { spec, adapter, stop } = options
  if (stop.cause !== undefined) return { ...stop.cause, usage: NO_USAGE }
  const found = await adapter.detect(options.env)
  if (found === undefined) return failed('agent_missing', `${adapter.name} is not installed where the task runs`)
  return step(options, 'agent', async () => {
    // A command may be silent as long as it likes: only a coding agent is known to say something now and then.
    if (spec.agent !== 'command') watchdog.beginIdleWatch()
    const session = await adapter.start({
      ...spec,
      cwd: options.cwd,
      home: options.home,
      env: options.env,
      user: options.user,
    })
    running.current = session
    const end = () => void session.stop().catch(() => {}) // the result tells how it ended
    if (stop.signal.aborted) end()
    else stop.signal.addEventListener('abort', end, { once: true })
    try {
      for await (const event of session.events) {
        watchdog.sawEvent()
        await options.emit(event)
      }
      return await session.result
    } finally {
      watchdog.endIdleWatch()
      stop.signal.removeEventListener('abort', end)
    }
  })
}

async function runCheck(options: TurnOptions, command: string): Promise<Check> {
  const startedAt = Date.now()
  await options.emit({ type: 'step', step: 'check', status: 'started', message: command })
  const exit = await runShell({ ...options, step: 'check', command, signal: options.stop.signal })
  const durationMs = Date.now() - startedAt
  const verdict = exit.code === 0 ? 'passed' : 'failed'
  await options.emit({
    type: 'step',
    step: 'check',
    status: verdict === 'passed' ? 'done' : 'failed',
    durationMs,
    message: verdict,
  })
  return { verdict, exitCode: exit.code, durationMs }
}

async function save(options: TurnOptions, ending: Ending, check: Check, startedAt: number): Promise<RunResult> {
  const problems: string[] = []
  let saved: SavedTurn | undefined
  try {
    await step(options, 'save', async () => {
      saved = await options.workspace.saveResult(ending.sessionId)
      for (const message of [...saved.warnings, ...saved.withheld.map(withheldText)])
        await options.emit({ type: 'warning', message })
      await options.saveArtifacts()
    })
  } catch (error) {
    problems.push(`not everything could be saved: ${messageOf(error)}`)
  }
  const withheld = saved?.withheld ?? []
  if (withheld.length > 0)
    problems.push(
      `left out because they hold a secret: ${withheld.length} changed ${withheld.length === 1 ? 'file' : 'files'}`,
    )
  const { outcome, reason, message } = judge(options, ending, saved)
  return {
    outcome,
    reason,
    message: [message, ...problems].join('; '),
    check,
    usage: ending.usage,
    ...(ending.costUnknown === true && { costUnknown: true }),
    durationMs: Date.now() - startedAt,
    filesChanged: saved?.filesChanged ?? 0,
    ...(saved && { insertions: saved.insertions, deletions: saved.deletions }),
    ...(saved?.commit !== undefined && { commit: saved.commit }),
    ...(ending.sessionId !== undefined && { sessionId: ending.sessionId }),
    ...(ending.exitCode !== undefined && { exitCode: ending.exitCode }),
    ...(ending.summary !== undefined && { summary: ending.summary }),
    ...(problems.length > 0 && { incomplete: true }),
    ...(withheld.length > 0 && { withheld: withheld.slice(0, MAX_WITHHELD_TOLD) }),
  }
}

/**
 * Work that was to come back and did not is no success, whatever the program said. A coding agent that finished and
 * changed nothing did not do what a patch was asked for; a command did what it did.
 */
function judge({ spec }: TurnOptions, ending: Ending, saved: SavedTurn | undefined): Ending {
  if (ending.outcome !== 'succeeded' || spec.workspace.kind === 'none') return ending
  if (saved?.commit === undefined)
    return { ...ending, outcome: 'failed', reason: 'workspace', message: `${ending.message}, but its result was lost` }
  if (spec.agent === 'command' || saved.filesChanged > 0 || saved.withheld.length > 0) return ending
  return { ...ending, outcome: 'no_changes', message: 'the coding agent finished and changed no file' }
}

async function step<T>(options: TurnOptions, name: Step, action: () => Promise<T>): Promise<T> {
  const startedAt = Date.now()
  await options.emit({ type: 'step', step: name, status: 'started' })
  try {
    const value = await action()
    await options.emit({ type: 'step', step: name, status: 'done', durationMs: Date.now() - startedAt })
    return value
  } catch (error) {
    await options.emit({
      type: 'step',
      step: name,
      status: 'failed',
      durationMs: Date.now() - startedAt,
      message: messageOf(error),
    })
    throw error
  }
}

const failed = (reason: Reason, message: string): Ending => ({ outcome: 'failed', reason, message, usage: NO_USAGE })

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
