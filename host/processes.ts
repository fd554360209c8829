/** Processes of this machine: which carry a variable in their environment, and when one was started. */
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Pids of our live processes whose environment holds `name=value`; zombies have none and are left out. */
export async function findByEnvironment(name: string, value: string): Promise<number[]> {
  const needle = `${name}=${value}`
  if (process.platform !== 'linux') return scanPs(needle)
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))
  const hits = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '') // gone, or not ours
      return environment.split('\0').includes(needle) ? [Number(pid)] : []
    }),
  )
  return hits.flat().filter((pid) => pid !== process.pid)
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
