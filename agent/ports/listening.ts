/**
 * Ports that listen on this machine, from /proc: those of the task's own processes with pid and command. Where /proc is
 * not there (macOS), none are known.
 */
import { readFile } from 'node:fs/promises'
import { findByEnvironment } from '../../host/processes.ts'
import type { ListeningPort } from '../../protocol/port.ts'
import { AGENT_ENV } from '../../protocol/run.ts'
import type { Hands } from '../hands/hands.ts'
import { socketOwners } from './socket-owners.ts'

const STATE_LISTEN = '0A'
/** A table of the kernel can be long; more ports than this are nobody's dev servers. */
const MAX_PORTS = 500

interface Row {
  port: number
  address: string
  uid: number
  inode: string
}

/**
 * @param hands sees the processes of the work, where they are another user's
 * @throws RclaudeError `unavailable` when it does not answer
 */
export async function listeningPorts(launchId: string, hands?: Pick<Hands, 'call'>): Promise<ListeningPort[]> {
  const [v4, v6] = await Promise.all(['tcp', 'tcp6'].map((name) => readQuietly(`/proc/net/${name}`)))
  const rows = [...rowsOf(v4 ?? ''), ...rowsOf(v6 ?? '')]
  if (rows.length === 0) return []
  const owners = await ownersOf([...new Set(rows.map(({ inode }) => inode))], launchId, hands)
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
    byPort.set(port, {
      port,
      addresses: [address],
      ...(owner && { pid: owner.pid, command: owner.command }),
      ...(own !== undefined && { own }),
    })
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
async function ownersOf(inodes: readonly string[], launchId: string, hands?: Pick<Hands, 'call'>) {
  const mark = { name: AGENT_ENV.launchId, value: launchId }
  const [of, seen] = await Promise.all([
    findByEnvironment(mark.name, mark.value).then((pids) => socketOwners(new Set(inodes), [...pids, process.pid])),
    hands?.call('socketOwners', { mark, inodes: inodes.slice(0, MAX_PORTS) }),
  ])
  // What we see ourselves counts: the second process could say anything.
  return new Map([...(seen?.owners ?? []), ...of].map((owner) => [owner.inode, owner]))
}

const readQuietly = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')
