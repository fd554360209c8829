/**
 * Ports that listen on this machine, from /proc: those of the task's own processes with pid and command. Where /proc is
 * not there (macOS), none are known.
 */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { findByEnvironment } from '../../host/processes.ts'
import type { ListeningPort } from '../../protocol/port.ts'
import { AGENT_ENV } from '../../protocol/run.ts'

const STATE_LISTEN = '0A'
/** A table of the kernel can be long; more ports than this are nobody's dev servers. */
const MAX_PORTS = 500
const MAX_COMMAND = 200

interface Row {
  port: number
  address: string
  uid: number
  inode: string
}

interface Owner {
  pid: number
  command: string
}

export async function listeningPorts(launchId: string): Promise<ListeningPort[]> {
  const [v4, v6] = await Promise.all(['tcp', 'tcp6'].map((name) => readQuietly(`/proc/net/${name}`)))
  const rows = [...rowsOf(v4 ?? ''), ...rowsOf(v6 ?? '')]
  if (rows.length === 0) return []
  const owners = await ownersOf(new Set(rows.map(({ inode }) => inode)), launchId)
  const byPort = new Map<number, ListeningPort>()
  for (const { port, address, uid, inode } of rows) {
    const owner = owners.get(inode)
    const known = byPort.get(port)
    if (known !== undefined) {
      if (!known.addresses.includes(address)) known.addresses.push(address)
      continue
    }
    // A process of our own user that is none of the task's is another's; of other users we cannot tell.
    const own = owner !== undefined || (uid === process.getuid?.() ? false : undefined)
    byPort.set(port, { port, addresses: [address], ...owner, ...(own !== undefined && { own }) })
  }
  return [...byPort.values()].sort((a, b) => a.port - b.port).slice(0, MAX_PORTS)
}

export function* rowsOf(table: string): Generator<Row> {
  for (const line of table.split('\n').slice(1)) {
    const [, local = '', , state, , , , uid = '', , inode = ''] = line.trim().split(/\s+/)
    const [address = '', port = ''] = local.split(':')
    if (state !== STATE_LISTEN || port === '') continue
    yield { port: Number.parseInt(port, 16), address: addressOf(address), uid: Number(uid), inode }
  }
}

/** The kernel prints each 32-bit word in the machine's byte order: little-endian on all that we run on. */
function addressOf(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).reverse())
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join('.')
  const groups = Array.from({ length: 8 }, (_, at) => `${bytes[2 * at]}${bytes[2 * at + 1]}`)
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** Of the task's processes and of ourselves, who listens for clients. */
async function ownersOf(inodes: ReadonlySet<string>, launchId: string): Promise<Map<string, Owner>> {
  const pids = [...(await findByEnvironment(AGENT_ENV.launchId, launchId)), process.pid]
  const owners = new Map<string, Owner>()
  await Promise.all(
    pids.map(async (pid) => {
      const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
      for (const descriptor of descriptors) {
        const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')
        const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
        if (inode === undefined || !inodes.has(inode)) continue
        const before = owners.get(inode)
        // Several processes may hold it: the one that opened it is the oldest.
        if (before === undefined || pid < before.pid) owners.set(inode, { pid, command: await commandOf(pid) })
      }
    }),
  )
  return owners
}

async function commandOf(pid: number): Promise<string> {
  const line = (await readQuietly(`/proc/${pid}/cmdline`)).replaceAll('\0', ' ').trim()
  return line.slice(0, MAX_COMMAND)
}

const readQuietly = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')
