/** Which of some processes has a socket open, from /proc: of processes whose files this one may see. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import type { SocketOwner } from '../hands/calls.ts'

const MAX_COMMAND = 200

/** @param inodes of the sockets, as /proc/net has them */
export async function socketOwners(inodes: ReadonlySet<string>, pids: readonly number[]): Promise<SocketOwner[]> {
  const owners = new Map<string, SocketOwner>()
  await Promise.all(
    pids.map(async (pid) => {
      const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
      for (const descriptor of descriptors) {
        const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')
        const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
        if (inode === undefined || !inodes.has(inode)) continue
        const before = owners.get(inode)
        // Several processes may hold it: the one that opened it is the oldest.
        if (before === undefined || pid < before.pid) owners.set(inode, { inode, pid, command: await commandOf(pid) })
      }
    }),
  )
  return [...owners.values()]
}

async function commandOf(pid: number): Promise<string> {
  const line = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim()
  return line.slice(0, MAX_COMMAND)
}
