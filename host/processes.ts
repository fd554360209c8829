/** Processes of this machine: which carry a variable in their environment, and when one was started. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { chunksOf } from './chunks.ts'

const run = promisify(execFile)
/** Files that one scan has open at once. */
const READS_AT_ONCE = 64
/** More than these are not looked at one by one. */
const MAX_YOUNGER = 64
/** include/linux/sched.h */
const PF_KTHREAD = 0x200000

/** Pids by the value of a variable in their environment. */
type Found = Map<string, number[]>

/** For each variable: the scan under way, and the one that begins after it for all who have asked meanwhile. */
const scans = new Map<string, { current: Promise<Found>; next?: Promise<Found> | undefined }>()

/** Pids of our live processes whose environment holds `name=value`; zombies have none and are left out. */
export async function findByEnvironment(name: string, value: string): Promise<number[]> {
  if (process.platform !== 'linux') return scanPs(`${name}=${value}`)
  return (await scanSoon(name)).get(value) ?? []
}

/** A scan that begins now or later. A thousand who ask at once cost two scans, not a thousand. */
function scanSoon(name: string): Promise<Found> {
  const scan = scans.get(name)
  if (scan === undefined) return begin(name)
  scan.next ??= scan.current.catch(() => {}).then(() => begin(name))
  return scan.next
}

function begin(name: string): Promise<Found> {
  const current = scanProc(name)
  const scan = { current }
  scans.set(name, scan)
  const over = () => {
    if (scans.get(name) === scan && !('next' in scan)) scans.delete(name)
  }
  current.then(over, over)
  return current
}

async function scanProc(name: string): Promise<Found> {
  const found: Found = new Map()
  const prefix = `${name}=`
  for (const chunk of chunksOf(await pidsOf(), READS_AT_ONCE))
    await Promise.all(
      chunk.map(async (pid) => {
        const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '') // gone, or not ours
        if (pid === process.pid || !environment.includes(prefix)) return
        const values = environment.split('\0').filter((entry) => entry.startsWith(prefix))
        for (const entry of new Set(values)) {
          const value = entry.slice(prefix.length)
          const pids = found.get(value)
          if (pids === undefined) found.set(value, [pid])
          else pids.push(pid)
        }
      }),
    )
  return found
}

/**
 * False when nothing is alive that `pid`, which has just ended, may have started with `name=value` in its environment: each
 * younger process shows another one. So for most of those that live for a moment nobody needs to be looked for. True when
 * in doubt: one that shows nothing may be in the middle of an exec, one that is gone may have started others.
 * Meant for a process that was short-lived: pids come round again.
 */
export async function mayHaveLeftProcesses(pid: number, name: string, value: string): Promise<boolean> {
  if (process.platform !== 'linux') return true
  try {
    const newest = newestPid()
    if (newest === pid) return false
    // Below ours, the count has begun anew meanwhile.
    if (!(newest >= pid)) return true
    const younger = (await pidsOf()).filter((other) => other > pid)
    if (younger.length > MAX_YOUNGER) return true
    const doubts = await Promise.all(younger.map((other) => mayCarry(other, `${name}=${value}`)))
    return doubts.includes(true)
  } catch {
    return true
  }
}

/** No process was started after this one. Always false where there is no /proc. */
export function isNewestProcess(pid: number): boolean {
  try {
    return newestPid() === pid
  } catch {
    return false
  }
}

/** The last word is the newest pid of all. */
const newestPid = (): number => Number(readFileSync('/proc/loadavg', 'utf8').trim().split(' ').at(-1))

async function mayCarry(pid: number, variable: string): Promise<boolean> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1')
    if (environment !== '') return environment.split('\0').includes(variable)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EACCES' || code === 'EPERM') return false // not for us to see: who may see it looks too
  }
  // Zombies and threads of the kernel never show one.
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] !== 'Z' && (Number(fields[6]) & PF_KTHREAD) === 0
}

async function pidsOf(): Promise<number[]> {
  return (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number)
}

/** macOS and BSD: `ps -E` shows the environment behind the command. */
async function scanPs(needle: string): Promise<number[]> {
  const { stdout } = await run('ps', ['-axww', '-E', '-o', 'pid=,command='], { maxBuffer: 64 * 1024 * 1024 })
  const pids = stdout.split('\n').filter((line) => line.includes(needle))
  return pids.map((line) => Number.parseInt(line, 10)).filter((pid) => pid !== process.pid)
}

/** With the pid it names one process for ever; undefined when there is none. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') {
    const { stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)]).catch(() => ({ stdout: '' }))
    return stdout.trim() || undefined
  }
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The command's name, in parentheses, may hold anything: count the fields after the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' ? undefined : fields[19]
}
