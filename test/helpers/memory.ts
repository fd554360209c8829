/** What a process of this machine holds in memory. */
import { readFileSync } from 'node:fs'

/** Resident bytes. @throws when there is no such process */
export function rssOf(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) * 1024
}
