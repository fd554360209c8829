/**
 * An adapter drives one kind of coding agent: it starts the real program, turns what it says into events, and says how
 * it ended. It knows nothing of workspaces, checks, time limits or tasks: those are the run's.
 */
import type { EventBody, Usage } from '../../protocol/event.ts'
import type { Outcome, Reason } from '../../protocol/outcome.ts'
import type { RunSpec } from '../../protocol/run.ts'
import type { Limits, PermissionMode } from '../../protocol/task.ts'
import type { WorkUser } from '../processes/child.ts'

export interface AdapterRun {
  prompt?: string | undefined
  /** Exact argv, for the `command` adapter. */
  command?: readonly string[] | undefined
  cwd: string
  /** The whole environment, secrets included. */
  env: Record<string, string>
  /** HOME of the work: where session files are. */
  home: string
  model?: string | undefined
  permissionMode: PermissionMode
  limits: Limits
  /** What set them. */
  limitKeys?: RunSpec['limitKeys']
  resumeSessionId?: string | undefined
  user?: WorkUser | undefined
}

export interface AdapterResult {
  /** `succeeded` means "finished by itself"; the run makes it `no_changes` when no file differs. */
  outcome: Extract<Outcome, 'succeeded' | 'failed' | 'blocked' | 'budget' | 'cancelled'>
  reason: Reason
  message: string
  usage: Usage
  /** The model was at work, and nothing says what that cost. */
  costUnknown?: boolean
  sessionId?: string
  exitCode?: number | null
  summary?: string
}

export interface Session {
  /** The coding agent's own id of the conversation, as soon as it is known. */
  readonly sessionId?: string | undefined
  /** Ends when the program has said all it will say. Must be consumed: an unread event stops the program's output. */
  readonly events: AsyncIterable<EventBody>
  /** Settles when the program and all it started are gone. */
  readonly result: Promise<AdapterResult>
  /** Ends it in order: interrupt, TERM, KILL; `result` then tells what it had come to. */
  stop(): Promise<void>
}

export interface Adapter {
  readonly name: string
  /** Undefined when the program is not installed here. */
  detect(env: Record<string, string>): Promise<{ version: string; path: string } | undefined>
  start(run: AdapterRun): Promise<Session>
  /** Files that `resumeSessionId` needs later, as absolute paths under the run's HOME; empty when there are none. */
  sessionFiles(run: { home: string; cwd: string; sessionId: string }): Promise<string[]>
}
