/**
 * How long our processes were ready to run and had no processor, as Linux counts it for their main threads. Echoes that
 * are late while a process waited for most of the time say something of the machine, and little of the product.
 */
import { readFileSync } from 'node:fs'

export interface CpuShare {
  name: string
  /** Parts of the time, 0 to 1. */
  running: number
  waiting: number
}

export interface CpuWatch {
  /** The process that waited most. Undefined where the system does not tell. */
  worst(fromMs: number, toMs: number): CpuShare | undefined
  /** Each process over all of the time that it was seen. */
  all(): CpuShare[]
  stop(): void
}

interface Sample {
  pid: number
  atMs: number
  runningMs: number
  waitingMs: number
}

const PERIOD_MS = 100

/** @param pids of now: a gateway that was started again has another */
export function watchCpu(pids: () => Record<string, number>): CpuWatch {
  const samples = new Map<string, Sample[]>()
  const look = () => {
    for (const [name, pid] of Object.entries(pids())) {
      const sample = sampleOf(pid)
      if (sample === undefined) continue
      const all = samples.get(name) ?? []
      all.push(sample)
      samples.set(name, all)
    }
  }
  const timer = setInterval(look, PERIOD_MS)
  const shares = (fromMs: number, toMs: number) =>
    [...samples].flatMap(([name, all]) => {
      const part = all.filter(({ atMs }) => atMs >= fromMs - PERIOD_MS && atMs <= toMs + PERIOD_MS)
      return shareOf(name, part)
    })
  return {
    worst: (fromMs, toMs) => shares(fromMs, toMs).sort((a, b) => b.waiting - a.waiting)[0],
    all: () => shares(0, Number.POSITIVE_INFINITY),
    stop: () => clearInterval(timer),
  }
}

/** Between samples of one process; a restart is left out. */
function shareOf(name: string, samples: readonly Sample[]): CpuShare[] {
  let [timeMs, runningMs, waitingMs] = [0, 0, 0]
  samples.forEach((sample, index) => {
    const before = samples[index - 1]
    if (before?.pid !== sample.pid) return
    timeMs += sample.atMs - before.atMs
    runningMs += sample.runningMs - before.runningMs
    waitingMs += sample.waitingMs - before.waitingMs
  })
  return timeMs === 0 ? [] : [{ name, running: runningMs / timeMs, waiting: waitingMs / timeMs }]
}

/** Documentation/scheduler/sched-stats.rst: time on the processor, time waiting for it, in nanoseconds. */
function sampleOf(pid: number): Sample | undefined {
  try {
    const [running, waiting] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ').map(Number)
    if (running === undefined || waiting === undefined) return undefined
    return { pid, atMs: performance.now(), runningMs: running / 1e6, waitingMs: waiting / 1e6 }
  } catch {
    return undefined // it ended, or this is no Linux
  }
}
