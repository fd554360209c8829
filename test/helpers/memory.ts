/** What a process of this machine holds in memory. */
import { readFileSync } from 'node:fs'

/** Resident bytes. @throws when there is no such process, or only what waits to be collected of it */
export function rssOf(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  if (kib === undefined) throw new Error(`process ${pid} has ended`)
  return Number(kib) * 1024
}
