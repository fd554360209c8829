/** Processes of this machine, or of the task alone, as /proc has them. Where there is no /proc the list is empty. */
import { readdir, readFile } from 'node:fs/promises'
import { chunksOf } from '../../host/chunks.ts'
import { findByEnvironment } from '../../host/processes.ts'
import type { Hands } from '../hands/hands.ts'

/** USER_HZ: a constant of Linux's interface on every architecture that Node runs on (man 7 time). */
const TICKS_PER_SECOND = 100
/** Files of /proc that are open at once. */
const AT_ONCE = 32

export interface ProcessSample {
  pid: number
  parent: number
  name: string
  /** User and system time since it was started. */
  cpuSeconds: number
  memoryBytes: number
  threads: number
}

export async function allProcesses(): Promise<ProcessSample[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((entry) => /^\d+$/.test(entry)).map(Number)
  const found: ProcessSample[] = []
  for (const chunk of chunksOf(pids, AT_ONCE))
    for (const sample of await Promise.all(chunk.map(sampleOf))) if (sample !== undefined) found.push(sample)
  return found
}

/**
 * The agent, all it started, and what carries the task's mark although its parent is gone.
 * @param hands sees the processes of the work, where they are another user's
 */
export async function processesOfTask(
  mark: { name: string; value: string },
  agent: number = process.pid,
  hands?: Hands,
): Promise<ProcessSample[]> {
  const [all, marked, seen] = await Promise.all([
    allProcesses(),
    findByEnvironment(mark.name, mark.value),
    hands?.call('marked', mark),
  ])
  const own = new Set([agent, ...marked, ...(seen?.pids ?? [])])
  // A child may stand before its parent when pids have wrapped around: again until nothing is added.
  for (let before = 0; before !== own.size; ) {
    before = own.size
    for (const { pid, parent } of all) if (own.has(parent)) own.add(pid)
  }
  return all.filter(({ pid }) => own.has(pid))
}

async function sampleOf(pid: number): Promise<ProcessSample | undefined> {
  try {
    const [stat, status] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'latin1'),
      readFile(`/proc/${pid}/status`, 'latin1'),
    ])
    return parseSample(pid, stat, status)
  } catch {
    return undefined // it has ended
  }
}

/** Of /proc/PID/stat and /proc/PID/status (man 5 proc); undefined for a zombie. */
export function parseSample(pid: number, stat: string, status: string): ProcessSample | undefined {
  // The name, in parentheses, may hold anything: the fields are counted after the last one.
  const close = stat.lastIndexOf(')')
  const fields = stat.slice(close + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  const number = (at: number) => Number(fields[at] ?? 0)
  // Of the page size only the kernel is sure, so resident memory comes in kB from the other file.
  const residentKb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0)
  return {
    pid,
    parent: number(1),
    name: Buffer.from(stat.slice(stat.indexOf('(') + 1, close), 'latin1').toString('utf8'),
    cpuSeconds: (number(11) + number(12)) / TICKS_PER_SECOND,
    memoryBytes: residentKb * 1024,
    threads: number(17),
  }
}
