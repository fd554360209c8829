/**
 * Drives the real Claude Code, unattended: `claude -p --output-format=stream-json`, the prompt on standard input, one
 * JSON document per line on standard output.
 *
 * Each line is counted (claude-tally), told as events (claude-events) and at the end weighed (claude-outcome). Two
 * watchdogs end a program that would go on for nothing: one when it has given its result and does not exit, one when the
 * model keeps refusing the credentials, which Claude Code otherwise repeats for three minutes.
 */
import type { EventBody } from '../../protocol/event.ts'
import { type Child, startChild } from '../processes/child.ts'
import type { Adapter, AdapterRun, Session } from './adapter.ts'
import { createEventMapper } from './claude-events.ts'
import { withGoogleFile } from './claude-google.ts'
import { ClaudeLine, parseJsonLine, RetryLine } from './claude-lines.ts'
import { outcomeOf } from './claude-outcome.ts'
import {
  CLAUDE_PATH_VARIABLE,
  claudeArguments,
  claudeEnvironment,
  claudeVersion,
  findClaude,
} from './claude-program.ts'
import { claudeSessionFiles } from './claude-session-files.ts'
import { createTally } from './claude-tally.ts'
import { bounded } from './claude-tools.ts'
import { keepTail, readLines } from './lines.ts'
import { failedSession, startSession } from './session.ts'
import { spawnFailure } from './spawn-failure.ts'

export interface ClaudeOptions {
  /** After its result, and after whatever it says behind that, the program gets this long to exit. */
  exitGraceMs?: number
  /** A longer line becomes a `gap` event. */
  maxLineBytes?: number
  /** Repetitions of a request that the model refused with 401 before we end the run. */
  maxAuthRetries?: number
}

/** Claude Code's own limit on a line is unknown; a message with images stays below this. */
const MAX_LINE_BYTES = 32 * 1024 * 1024
const EXIT_GRACE_MS = 10_000
const MAX_AUTH_RETRIES = 3
/** What is kept of standard error for the message on a crash. */
const STDERR_TAIL_BYTES = 4 * 1024

export function createClaudeAdapter(options: ClaudeOptions = {}): Adapter {
  return {
    name: 'claude',
    async detect(env) {
      const path = await findClaude(env)
      const version = path && (await claudeVersion(path, env))
      return path && version ? { version, path } : undefined
    },
    start: (run) => start(run, options),
    sessionFiles: claudeSessionFiles,
  }
}

export const claude: Adapter = createClaudeAdapter()

async function start(run: AdapterRun, options: ClaudeOptions): Promise<Session> {
  if (run.prompt === undefined) throw new TypeError('the claude adapter needs a prompt')
  const program = await findClaude(run.env)
  if (program === undefined) return failedSession('agent_missing', missingMessage(run.env))
  let child: Child
  try {
    const argv = [program, ...claudeArguments(run)]
    const env = await withGoogleFile(claudeEnvironment(run), run.home, run.user)
    child = await startChild({ argv, cwd: run.cwd, env, stdin: 'pipe', user: run.user })
  } catch (error) {
    const { reason, message } = await spawnFailure(error, program, run.cwd)
    return failedSession(reason, message)
  }
  child.stdin?.end(run.prompt)
  return follow(child, run, options)
}

function follow(child: Child, run: AdapterRun, options: ClaudeOptions): Session {
  const tally = createTally()
  const eventsOf = createEventMapper({ cwd: run.cwd })
  const stderr = keepTail(child.stderr, STDERR_TAIL_BYTES)
  const exitWatch = watchExit(child, options.exitGraceMs ?? EXIT_GRACE_MS)
  let authRefused = false

  async function* read(): AsyncGenerator<EventBody> {
    for await (const line of readLines(child.stdout, options.maxLineBytes ?? MAX_LINE_BYTES)) {
      if ('droppedBytes' in line)
        yield { type: 'gap', what: 'a line of Claude that was too long, in bytes', count: line.droppedBytes }
      else if (line.text.trim() !== '') yield* understand(line.text)
    }
    exitWatch.cancel()
    if (exitWatch.fired()) yield { type: 'warning', message: 'Claude gave its result and did not exit; it was stopped' }
  }

  function* understand(text: string): Generator<EventBody> {
    const json = parseJsonLine(text)
    const { data: line } = ClaudeLine.safeParse(json)
    if (line === undefined) {
      if (!isKeepAlive(json)) yield { type: 'raw', program: 'claude', line: bounded(json ?? text) }
      return
    }
    tally.add(line)
    if (tally.result !== undefined) exitWatch.restart()
    yield* eventsOf(line)
    if (line.type === 'result') yield { type: 'usage', usage: tally.usage() }
    if (isHopelessRetry(line, options.maxAuthRetries ?? MAX_AUTH_RETRIES)) {
      authRefused = true
      void child.stop()
    }
  }

  return startSession({
    child,
    read,
    sessionId: () => tally.sessionId,
    conclude: ({ exit, stopped }) =>
      outcomeOf({
        tally,
        exit,
        stopped,
        stderr: stderr(),
        authRefused,
        permissionMode: run.permissionMode,
        budgetKey: run.limitKeys?.budget,
      }),
  })
}

/** Stops a child that does not exit by itself within the grace after the latest restart(). */
function watchExit(child: Child, graceMs: number) {
  let timer: NodeJS.Timeout | undefined
  let hasFired = false
  let isOver = false
  const cancel = () => {
    isOver = true
    clearTimeout(timer)
  }
  void child.exited.then(cancel)
  return {
    cancel,
    fired: () => hasFired,
    restart() {
      clearTimeout(timer)
      if (isOver) return
      timer = setTimeout(() => {
        hasFired = true
        void child.stop()
      }, graceMs)
    },
  }
}

function isHopelessRetry(line: ClaudeLine, maxRetries: number): boolean {
  if (line.type !== 'system' || line.subtype !== 'api_retry') return false
  const retry = RetryLine.safeParse(line).data
  return retry?.error_status === 401 && retry.attempt >= maxRetries
}

function isKeepAlive(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'type' in json && json.type === 'keep_alive'
}

function missingMessage(env: Record<string, string>): string {
  const named = env[CLAUDE_PATH_VARIABLE]
  if (named) return `${CLAUDE_PATH_VARIABLE} names ${named}, which is no executable file`
  return `Claude Code was not found where the task ran; install it (npm install -g @anthropic-ai/claude-code) or set ${CLAUDE_PATH_VARIABLE}`
}
