/** What the agent knows of its machine at this moment. Use of CPU is the difference of two samples. */
import { stat, statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { findProgram, foldersOf, SYSTEM_FOLDERS } from '../../host/programs.ts'
import { type AgentHealth, type DiskUse, type HealthScope, MAX_PROCESSES_SHOWN } from '../../protocol/health.ts'
import type { ProcessId } from '../../protocol/ids.ts'
import type { Hands } from '../hands/hands.ts'
import { type ContainerSample, sampleContainer } from './container.ts'
import { allProcesses, type ProcessSample, processesOfTask } from './processes.ts'

/** A sample that is older says nothing of the present; one that is younger, nothing at all. */
const MAX_SAMPLE_AGE_MS = 15_000
const MIN_INTERVAL_MS = 250
/** What parts of rclaude need in the task beside the agent. */
const PROGRAMS = ['git', 'git-lfs', 'sshd'] as const

/** A process that rclaude started for someone. */
export interface StartedProcess {
  id: ProcessId
  pid: number | null
  heldBytes: number
  isHeldBack: boolean
}

export interface HealthSources {
  workspace: string
  temporary: string
  /** A variable that everything of this task carries in its environment. */
  mark: { name: string; value: string }
  /** Sees the processes of the work, where they are another user's. */
  hands?: Hands | undefined
  path(): string
  events(): number
  started(): StartedProcess[]
}

interface Sample {
  atMs: number
  container: ContainerSample
  processes: ProcessSample[]
}

export class HealthMonitor {
  readonly #sources: HealthSources
  #last: { scope: HealthScope; sample: Sample } | undefined
  /** One look at a time: clients that ask together get the same answer. */
  readonly #looking = new Map<HealthScope, Promise<AgentHealth>>()

  constructor(sources: HealthSources) {
    this.#sources = sources
  }

  look(scope: HealthScope): Promise<AgentHealth> {
    const looking = this.#looking.get(scope) ?? this.#look(scope).finally(() => this.#looking.delete(scope))
    this.#looking.set(scope, looking)
    return looking
  }

  async #look(scope: HealthScope): Promise<AgentHealth> {
    const before = await this.#before(scope)
    const ageMs = performance.now() - before.atMs
    if (ageMs < MIN_INTERVAL_MS) await pause(MIN_INTERVAL_MS - ageMs)
    const [now, disks, programs] = await Promise.all([this.#sample(scope), this.#disks(), this.#programs()])
    this.#last = { scope, sample: now }
    const started = this.#sources.started()
    return {
      at: new Date().toISOString(),
      scope,
      uptimeSeconds: process.uptime(),
      cpu: cpuOf(before, now),
      memory: memoryOf(now),
      processes: {
        total: now.processes.length,
        ...(now.container.processLimit !== undefined && { limit: now.container.processLimit }),
        top: busiest(before, now, started),
      },
      disks,
      started: {
        running: started.filter(({ pid }) => pid !== null).length,
        heldBytes: started.reduce((sum, { heldBytes }) => sum + heldBytes, 0),
        heldBack: started.flatMap(({ id, isHeldBack }) => (isHeldBack ? [id] : [])).slice(0, MAX_PROCESSES_SHOWN),
      },
      events: this.#sources.events(),
      programs,
    }
  }

  async #before(scope: HealthScope): Promise<Sample> {
    const last = this.#last
    const isFresh = last?.scope === scope && performance.now() - last.sample.atMs < MAX_SAMPLE_AGE_MS
    return isFresh ? last.sample : this.#sample(scope)
  }

  async #sample(scope: HealthScope): Promise<Sample> {
    const [container, processes] = await Promise.all([
      scope === 'container' ? sampleContainer() : {},
      scope === 'container' ? allProcesses() : processesOfTask(this.#sources.mark, process.pid, this.#sources.hands),
    ])
    return { atMs: performance.now(), container, processes }
  }

  async #disks(): Promise<DiskUse[]> {
    const disks = new Map<number, DiskUse>()
    for (const holds of ['workspace', 'temporary'] as const) {
      const path = this.#sources[holds]
      const [found, space] = await Promise.all([stat(path), statfs(path)]).catch(() => [undefined, undefined])
      if (found === undefined || space === undefined) continue // deleted by the work
      const known = disks.get(found.dev)
      if (known === undefined)
        disks.set(found.dev, {
          holds: [holds],
          totalBytes: space.blocks * space.bsize,
          freeBytes: space.bavail * space.bsize,
          ...(space.files > 0 && { freeFiles: space.ffree }),
        })
      else known.holds.push(holds)
    }
    return [...disks.values()]
  }

  async #programs(): Promise<Record<string, boolean>> {
    const folders = [...foldersOf(this.#sources.path()), ...SYSTEM_FOLDERS]
    const found = PROGRAMS.map(async (name) => [name, (await findProgram(name, folders)) !== undefined] as const)
    return Object.fromEntries(await Promise.all(found))
  }
}

const secondsBetween = (before: Sample, now: Sample): number => Math.max(0.001, (now.atMs - before.atMs) / 1000)

function cpuOf(before: Sample, now: Sample): AgentHealth['cpu'] {
  const seconds = secondsBetween(before, now)
  const difference = (name: 'cpuSeconds' | 'throttledSeconds'): number | undefined => {
    const [from, to] = [before.container[name], now.container[name]]
    return from === undefined || to === undefined ? undefined : Math.max(0, to - from) / seconds
  }
  const throttled = difference('throttledSeconds')
  const earlier = secondsByPid(before)
  const summed = now.processes.reduce((sum, one) => sum + cpuSince(earlier, one), 0) / seconds
  return {
    cores: now.container.cores ?? availableParallelism(),
    used: difference('cpuSeconds') ?? summed,
    ...(throttled !== undefined && { throttled: Math.min(1, throttled) }),
  }
}

function memoryOf({ container, processes }: Sample): AgentHealth['memory'] {
  return {
    usedBytes: container.memoryBytes ?? processes.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    limitBytes: Math.min(container.memoryLimitBytes ?? Number.POSITIVE_INFINITY, totalmem()),
    ...(container.oomKills !== undefined && { oomKills: container.oomKills }),
  }
}

/** By CPU, then by memory. */
function busiest(before: Sample, now: Sample, started: readonly StartedProcess[]): AgentHealth['processes']['top'] {
  const seconds = secondsBetween(before, now)
  const earlier = secondsByPid(before)
  const ids = new Map(started.map(({ pid, id }) => [pid, id]))
  return now.processes
    .map((one) => ({
      pid: one.pid,
      name: one.name.slice(0, 64),
      cpu: cpuSince(earlier, one) / seconds,
      memoryBytes: one.memoryBytes,
      threads: one.threads,
      ...(ids.has(one.pid) && { processId: ids.get(one.pid) }),
    }))
    .sort((a, b) => b.cpu - a.cpu || b.memoryBytes - a.memoryBytes)
    .slice(0, MAX_PROCESSES_SHOWN)
}

const secondsByPid = ({ processes }: Sample): Map<number, number> =>
  new Map(processes.map(({ pid, cpuSeconds }) => [pid, cpuSeconds]))

/** A process that is new has used all it used since the sample before; a pid that was taken again, too. */
function cpuSince(earlier: ReadonlyMap<number, number>, { pid, cpuSeconds }: ProcessSample): number {
  const used = earlier.get(pid) ?? 0
  return cpuSeconds >= used ? cpuSeconds - used : cpuSeconds
}
