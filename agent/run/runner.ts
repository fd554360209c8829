/** The task's work as the gateway directs it: takes turns one after another, tells how it stands, stops on demand. */
import { proxyPasswords } from '../../host/proxy.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { type EventBody, NO_USAGE, type RunResult } from '../../protocol/event.ts'
import { AGENT_ENV, type RunSpec, type RunStatus, type RunWorkspace } from '../../protocol/run.ts'
import type { Adapter } from '../adapters/adapter.ts'
import type { EventLog } from '../events/log.ts'
import type { WorkUser } from '../processes/child.ts'
import type { TurnWorkspace } from '../workspace/turn-workspace.ts'
import { type BaseEnvironment, workEnvironment } from './environment.ts'
import { Leaks } from './leaks.ts'
import { MaskedEvents } from './masked-events.ts'
import { createFinder, type Mask, maskWith } from './masking.ts'
import { Stop, type StopCause } from './stop.ts'
import { runTurn } from './turn.ts'

/** What the credential of the clone is called beside the task's own secrets; no variable has such a name. */
const REPO_TOKEN = 'the token of --repo'

/** How the turn keeps its secrets out of what it says, and out of the files that it saves. */
export interface Hides {
  mask: Mask
  leaks: Leaks
}

export interface RunnerOptions {
  log: EventLog
  base: BaseEnvironment
  user: WorkUser | undefined
  adapterOf(name: RunSpec['agent']): Adapter
  workspaceOf(spec: RunSpec, adapter: Adapter, hides: Hides): TurnWorkspace
  saveArtifacts(leaks: Leaks): Promise<void>
  onBegin(spec: RunSpec): void
}

export class Runner {
  readonly #options: RunnerOptions
  #spec: RunSpec | undefined
  #phase: RunStatus['phase'] = 'idle'
  #result: RunResult | undefined
  /** The workspace was fetched and the setup succeeded: later turns find both done. */
  #isPrepared = false
  #stop = new Stop()
  readonly #engineEnded = new AbortController()
  #work: Promise<void> = Promise.resolve()

  constructor(options: RunnerOptions) {
    this.#options = options
  }

  get status(): RunStatus {
    return {
      turn: this.#spec?.turn ?? 0,
      phase: this.#phase,
      ...(this.#result && { result: this.#result }),
      lastAgentSeq: this.#options.log.lastSeq,
    }
  }

  /** The environment of the turn, for processes that people start beside it. */
  get environment(): Record<string, string> {
    return workEnvironment(this.#options.base, this.#spec)
  }

  /** Begins a turn. One that was begun before is left as it is. */
  begin(spec: RunSpec): void {
    if (this.#spec !== undefined && spec.turn <= this.#spec.turn) return
    if (this.#phase === 'working') throw new RclaudeError('conflict', `turn ${this.#spec?.turn} is still working`)
    // A live placement keeps the secrets it was given; a later turn may add to them.
    const whole = { ...spec, secrets: { ...this.#spec?.secrets, ...spec.secrets } }
    // What stays is without the credential of the clone, which is for this turn's workspace alone.
    this.#spec = { ...whole, workspace: withoutCredential(spec.workspace) }
    this.#phase = 'working'
    this.#result = undefined
    this.#stop = new Stop()
    this.#options.onBegin(spec)
    this.#work = this.#run(whole, this.#stop)
  }

  /** The turn ends as soon as it can, with what it has. */
  stop(cause: StopCause): void {
    this.#stop.because(cause)
  }

  /** The task's Docker engine will not answer any more: work that still waits for it fails, all other goes on. */
  engineEnded(message: string): void {
    this.#engineEnded.abort(new Error(message))
  }

  /** Resolves when no turn works. */
  idle(): Promise<void> {
    return this.#work
  }

  /** Whatever happens, the turn ends with a result, which the log and `status` both tell. */
  async #run(spec: RunSpec, stop: Stop): Promise<void> {
    const { log } = this.#options
    const passwords = proxyPasswords(this.environment).map((password, n) => [`proxy ${n}`, password])
    const hidden = hiddenOf(spec)
    const finder = createFinder({ ...hidden, ...Object.fromEntries(passwords) })
    const mask = maskWith(finder)
    const masked = new MaskedEvents(finder)
    const emit = async (event: EventBody) => {
      for (const one of masked.push(event)) log.append(spec.turn, one)
      while (!log.hasRoom) await log.changed()
    }
    const startedAt = Date.now()
    let result: RunResult
    try {
      result = await this.#turn(spec, stop, { mask, leaks: new Leaks(hidden) }, emit)
    } catch (error) {
      result = internalFault(error, Date.now() - startedAt)
    }
    this.#result = mask(result)
    this.#phase = 'finished'
    await emit({ type: 'turn_ended', result }).catch(() => {}) // `status` tells it as well
  }

  async #turn(spec: RunSpec, stop: Stop, hides: Hides, emit: (event: EventBody) => Promise<void>): Promise<RunResult> {
    const { base, user } = this.#options
    await emit({ type: 'turn_started', prompt: spec.prompt ?? (spec.command ?? []).join(' ') })
    const adapter = this.#options.adapterOf(spec.agent)
    return await runTurn({
      spec,
      adapter,
      workspace: this.#options.workspaceOf(spec, adapter, hides),
      isPrepared: this.#isPrepared,
      onPrepared: () => {
        this.#isPrepared = true
      },
      env: workEnvironment(base, spec),
      cwd: base.directories.work,
      engineSocket: base.own[AGENT_ENV.engineSocket],
      engineEnded: this.#engineEnded.signal,
      home: base.directories.home,
      user,
      stop,
      emit,
      saveArtifacts: () => this.#options.saveArtifacts(hides.leaks),
    })
  }
}

function withoutCredential(workspace: RunWorkspace): RunWorkspace {
  if (workspace.kind !== 'repo') return workspace
  const { credential: _, ...rest } = workspace
  return rest
}

/** All that must not be seen, by name. */
function hiddenOf({ secrets, workspace }: RunSpec): Record<string, string> {
  const credential = workspace.kind === 'repo' ? workspace.credential : undefined
  return { ...secrets, ...(credential && { [REPO_TOKEN]: credential.token }) }
}

const internalFault = (error: unknown, durationMs: number): RunResult => ({
  outcome: 'failed',
  reason: 'internal',
  message: `the agent failed: ${error instanceof Error ? error.message : String(error)}`,
  check: { verdict: 'none' },
  usage: NO_USAGE,
  durationMs,
  filesChanged: 0,
  incomplete: true,
})
