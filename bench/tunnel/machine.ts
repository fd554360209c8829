/** The line on top of every table: on what, and beside how much other work, it was measured. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

export function machineLine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor'
  const memory = `${Math.round(totalmem() / 1024 ** 3)} GiB`
  const load = loadavg()
    .map((value) => value.toFixed(2))
    .join(' ')
  return `${model}, ${cpus().length} cores, ${memory}, Node ${process.version}, Linux ${release()}, ${sshVersion()}, load ${load}, ${openFiles()} open files`
}

/** How many files (so: connections) one process may have open. */
export function openFiles(): number {
  const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  return Number(line?.[1] ?? 1024)
}

function sshVersion(): string {
  try {
    // It says its version on standard error.
    return execFileSync('sh', ['-c', 'ssh -V 2>&1'], { encoding: 'utf8' }).split(',')[0]?.trim() ?? 'ssh'
  } catch {
    return 'no ssh'
  }
}
