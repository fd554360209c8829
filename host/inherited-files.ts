/**
 * Closes the files that whoever started this process left open in it, as daemons do at their start: else every process that it
 * starts could read them. A module of its own, imported first, so that nothing of ours is open yet.
 */
import { closeSync, readdirSync, readFileSync } from 'node:fs'

/** include/uapi/asm-generic/fcntl.h; /proc/self/fdinfo shows flags in octal (man 5 proc). */
const O_CLOEXEC = 0o2000000

if (process.platform === 'linux') closeInherited()

/** What Node opens for itself is closed by an exec anyhow: that tells it apart. */
function closeInherited(): void {
  const channel = Number(process.env.NODE_CHANNEL_FD ?? -1)
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    const flags = flagsOf(fd)
    if (fd > 2 && fd !== channel && flags !== undefined && (flags & O_CLOEXEC) === 0) closeSync(fd)
  }
}

/** Undefined for the one that the listing itself was read with. */
function flagsOf(fd: number): number | undefined {
  try {
    const [, octal = ''] = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? []
    return octal === '' ? undefined : Number.parseInt(octal, 8)
  } catch {
    return undefined
  }
}
