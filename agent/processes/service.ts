/**
 * The processes of one task: starts them, finds them, stops them, and remembers the newest of those that ended, with
 * their output.
 */
import { rm, stat } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { newProcessId, type ProcessId } from '../../protocol/ids.ts'
import type { ProcessExit, ProcessSpec } from '../../protocol/process.ts'
import { hasCode } from '../files/tree.ts'
import { type PtyChild, startPty } from '../terminals/pty.ts'
import type { TerminalLimits } from '../terminals/terminal.ts'
import { type Child, STOP_GRACE_MS, startChild, type WorkUser } from './child.ts'
import { JOURNAL_LIMITS, Journal, type JournalLimits } from './journal.ts'
import { ManagedProcess } from './managed-process.ts'
import { otherUser } from './user.ts'

export interface ProcessLimits {
  /** Processes that run at once. */
  running: number
  /** Ended processes that are remembered. */
  ended: number
  /** Terminals that run at once: each has a screen in memory. */
  terminals: number
}

export const PROCESS_LIMITS: ProcessLimits = { running: 1_000, ended: 200, terminals: 100 }

/** Before a run says otherwise. */
export const TERMINAL_LIMITS: TerminalLimits = { idleMs: 3_600_000, scrollback: 1_000, recordingBytes: 64 * 1024 ** 2 }

/** What the gateway's configuration says about them; undefined leaves it as it is. */
export interface ProcessRules {
  /** `limits.processes` */
  running?: number | undefined
  /** `limits.terminals` */
  terminals?: number | undefined
  /** `agents.execUsers` */
  users?: readonly string[] | undefined
}

export interface ProcessServiceOptions {
  /** Where journals go; ours alone, made when needed. */
  directory: string
  /** Root of the workspace: processes run in it or below. */
  workspace: string
  /** The environment that every process starts from, asked anew for each. */
  baseEnv: () => Record<string, string>
  user?: WorkUser | undefined
  limits?: Partial<ProcessLimits>
  journal?: Partial<JournalLimits>
  /** Asked anew for each terminal. */
  terminal?: () => TerminalLimits
  stopGraceMs?: number
  now?: () => Date
}

export interface StartOptions {
  /** Chosen by the caller, so that a start whose answer was lost can be repeated: the second finds the first. */
  id?: ProcessId | undefined
  /** A client is about to attach: a foreground process waits for it. Otherwise output goes to disk from the start. */
  attached?: boolean
}

export class ProcessService {
  readonly #options: ProcessServiceOptions
  readonly #limits: ProcessLimits
  #users: readonly string[] = []
  readonly #processes = new Map<ProcessId, ManagedProcess>()
  readonly #starting = new Map<ProcessId, Promise<ManagedProcess>>()
  #closed = false

  constructor(options: ProcessServiceOptions) {
    this.#options = options
    this.#limits = { ...PROCESS_LIMITS, ...options.limits }
  }

  allow({ running, terminals, users }: ProcessRules): void {
    this.#limits.running = running ?? this.#limits.running
    this.#limits.terminals = terminals ?? this.#limits.terminals
    this.#users = users ?? this.#users
  }

  /** @throws RclaudeError `invalid`, `program_missing`, `program_refused`, `forbidden` (the user), `limit`, `conflict` (id of another process) */
  async start(spec: ProcessSpec, options: StartOptions = {}): Promise<ManagedProcess> {
    const id = options.id ?? newProcessId()
    const known = this.#processes.get(id) ?? this.#starting.get(id)
    if (known !== undefined) {
      const same = await known
      if (same.isStartedBy(spec)) return same
      throw new RclaudeError('conflict', `process ${id} was started with another command; choose a new id`)
    }
    this.#refuseWhenFull(spec)
    const starting = this.#start(id, spec, options.attached ?? false)
    this.#starting.set(id, starting)
    try {
      return await starting
    } finally {
      this.#starting.delete(id)
    }
  }

  /** @throws RclaudeError `not_found` */
  get(id: string): ManagedProcess {
    const found = this.#processes.get(id as ProcessId)
    if (found === undefined)
      throw new RclaudeError('not_found', `there is no process ${id} here; it never was, or it ended long ago`)
    return found
  }

  /** Oldest first. */
  list(): ManagedProcess[] {
    return [...this.#processes.values()]
  }

  signal(id: string, name: string): void {
    this.get(id).signal(name)
  }

  stop(id: string): Promise<ProcessExit> {
    return this.get(id).stop()
  }

  /** Stops all that run or are being started, at the same time. */
  async stopAll(): Promise<void> {
    await Promise.allSettled(this.#starting.values())
    await Promise.all(this.list().map((one) => one.stop()))
  }

  /** Stops all, starts nothing more, deletes the journals as far as that can be done. */
  async close(): Promise<void> {
    this.#closed = true
    await this.stopAll()
    await Promise.allSettled(this.list().map((one) => one.journal.remove()))
    this.#processes.clear()
    await rm(this.#options.directory, { recursive: true, force: true }).catch(() => {})
  }

  async #start(id: ProcessId, spec: ProcessSpec, attached: boolean): Promise<ManagedProcess> {
    const cwd = await this.#directoryOf(spec)
    const child = await this.#spawn(spec, cwd)
    const limits = this.#options.terminal?.() ?? TERMINAL_LIMITS
    const directory = join(this.#options.directory, id)
    const journal = new Journal({
      directory,
      limits: { ...JOURNAL_LIMITS, ...this.#options.journal },
      detached: spec.detached || spec.tty !== undefined, // a terminal's viewers hold it back, not its journal
      attached,
    })
    const started = new ManagedProcess({
      id,
      spec,
      cwd,
      child,
      pty:
        'resize' in child
          ? { child, directory, limits: { ...limits, ...(spec.detached && { idleMs: undefined }) } }
          : undefined,
      journal,
      stopGraceMs: this.#options.stopGraceMs ?? STOP_GRACE_MS,
      now: this.#options.now ?? (() => new Date()),
    })
    this.#processes.set(id, started)
    void started.finished.then(() => this.#forgetOldest())
    return started
  }

  async #directoryOf(spec: ProcessSpec): Promise<string> {
    const root = resolve(this.#options.workspace)
    const cwd = resolve(root, spec.cwd ?? '.')
    if (spec.cwd?.includes('\0') || (cwd !== root && !cwd.startsWith(root + sep)))
      throw new RclaudeError('invalid', `cwd ${JSON.stringify(spec.cwd)} is outside the workspace`)
    if (!(await this.#isDirectory(cwd)))
      throw new RclaudeError('invalid', `cwd ${JSON.stringify(spec.cwd ?? '.')} is no directory of the workspace`)
    return cwd
  }

  async #isDirectory(path: string): Promise<boolean> {
    try {
      return (await stat(path)).isDirectory()
    } catch (error) {
      const hands = this.#options.user?.hands
      if (!hasCode(error, 'EACCES') || hands === undefined) return false
      return (await hands.call('isDirectory', { path })).is
    }
  }

  async #spawn(spec: ProcessSpec, cwd: string): Promise<Child | PtyChild> {
    const other = spec.user === undefined ? undefined : await otherUser(spec.user, this.#options.user, this.#users)
    const env = { ...this.#options.baseEnv(), ...other?.env, ...spec.env }
    const user = other?.user ?? this.#options.user
    try {
      if (spec.tty !== undefined)
        return await startPty({ ...spec, cwd, env: terminalEnvironment(env, spec), user, size: spec.tty })
      return await startChild({
        argv: spec.argv,
        cwd,
        env,
        stdin: spec.stdin ? 'pipe' : 'ignore',
        user,
      })
    } catch (error) {
      if (error instanceof RclaudeError) throw error
      throw spawnError(spec.argv[0] ?? '', error)
    }
  }

  #refuseWhenFull(spec: ProcessSpec): void {
    if (this.#closed) throw new RclaudeError('unavailable', 'the agent is ending and starts no more processes')
    const running = this.list().filter((one) => one.exit === undefined).length + this.#starting.size
    if (running >= this.#limits.running)
      throw new RclaudeError(
        'limit',
        `${running} processes run in this task already, as many as limits.processes (${this.#limits.running}) allows: ` +
          'end one with rclaude kill TASK/PROCESS, or wait for one; rclaude processes TASK lists them',
      )
    const terminals = this.list().filter((one) => one.terminal !== undefined && one.exit === undefined).length
    if (spec.tty !== undefined && terminals >= this.#limits.terminals)
      throw new RclaudeError(
        'limit',
        `${terminals} terminals are open already, which is the limit of ${this.#limits.terminals} (limits.terminals); end one and try again`,
      )
  }

  #forgetOldest(): void {
    const ended = this.list().filter((one) => one.exit !== undefined && !one.hasClient)
    for (const one of ended.slice(0, Math.max(0, ended.length - this.#limits.ended))) {
      this.#processes.delete(one.id)
      void one.journal.remove().catch(() => {}) // files that cannot be deleted go with the directory
    }
  }
}

/** What the client's terminal is; the task's own settings of the language stay. */
function terminalEnvironment(env: Record<string, string>, { tty, env: asked }: ProcessSpec): Record<string, string> {
  if (tty === undefined) return env
  const hasLanguage = env.LANG !== undefined || env.LC_ALL !== undefined
  return {
    ...env,
    TERM: asked.TERM ?? tty.term,
    ...(tty.colorTerm !== undefined && { COLORTERM: asked.COLORTERM ?? tty.colorTerm }),
    ...(!hasLanguage && { LANG: tty.lang ?? 'C.UTF-8' }),
  }
}

function spawnError(program: string, error: unknown): RclaudeError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const cause = { cause: error }
  const name = JSON.stringify(program)
  if (code === 'ENOENT' || program === '')
    return new RclaudeError('program_missing', `cannot start ${name}: there is no such program`, cause)
  if (code === 'EACCES')
    return new RclaudeError('program_refused', `cannot start ${name}: it may not be executed`, cause)
  if (code === 'ENOEXEC')
    return new RclaudeError('program_refused', `cannot start ${name}: it is no program for this machine`, cause)
  if (code === 'E2BIG')
    return new RclaudeError('invalid', `cannot start ${name}: arguments or environment too long`, cause)
  if (code === 'EAGAIN' || code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM')
    return new RclaudeError('limit', `cannot start ${name}: the machine is out of processes, files or memory`, cause)
  return new RclaudeError('invalid', `cannot start ${name}: ${error instanceof Error ? error.message : error}`, cause)
}
