/**
 * OpenSSH as a peer: an sshd of the bench's own on a loopback port, with its own host key, its own authorized_keys and no
 * configuration of the machine's. `ssh -R` carries what our tunnel carries, `ssh host cat` what `rclaude exec` does.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Children } from '../children.ts'

const SSHD = '/usr/sbin/sshd'
/** Debian's sshd, started as root, insists on this folder. */
const PRIVILEGE_SEPARATION = '/run/sshd'
const START_TIMEOUT_MS = 10_000
const POLL_MS = 50

export const HOW_TO_INSTALL =
  'OpenSSH is not here (Debian: apt-get install openssh-server openssh-client): no rows to compare with'

export interface Ssh {
  /** argv of a command on the host, as a user types it. */
  command(words: string[], cipher?: string): string[]
  /** `ssh -N -R`: connections to the port that is returned arrive at `port`, through a connection that stays. */
  reverse(ports: number[], cipher?: string): Promise<number[]>
}

/** Undefined when there is no OpenSSH. */
export async function startSsh(children: Children): Promise<Ssh | undefined> {
  if (!existsSync(SSHD)) return undefined
  const directory = join(children.directory, 'ssh')
  mkdirSync(directory, { mode: 0o700 })
  if (process.getuid?.() === 0) mkdirSync(PRIVILEGE_SEPARATION, { recursive: true, mode: 0o755 })
  const [hostKey, userKey] = [join(directory, 'host_key'), join(directory, 'user_key')]
  for (const file of [hostKey, userKey]) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
  execFileSync('cp', [`${userKey}.pub`, join(directory, 'authorized_keys')])
  const port = await freePort()
  const config = join(directory, 'sshd_config')
  writeFileSync(config, configOf(directory, hostKey, port))
  children.spawn(SSHD, ['-D', '-f', config, '-E', join(directory, 'sshd.log')], { stdio: 'ignore' })
  await listening(port)

  const base = (cipher: string | undefined): string[] => [
    ...['ssh', '-F', 'none', '-p', String(port), '-i', userKey, '-l', userInfo().username],
    ...['-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'IdentitiesOnly=yes', '-o', 'LogLevel=INFO'],
    ...['-o', `UserKnownHostsFile=${join(directory, 'known_hosts')}`],
    ...(cipher === undefined ? [] : ['-c', cipher]),
  ]
  return {
    command: (words, cipher) => [...base(cipher), '127.0.0.1', ...words],
    async reverse(ports, cipher) {
      const forwards = ports.flatMap((target) => ['-R', `127.0.0.1:0:127.0.0.1:${target}`])
      const [program = 'ssh', ...args] = [
        ...base(cipher),
        '-N',
        '-o',
        'ExitOnForwardFailure=yes',
        ...forwards,
        '127.0.0.1',
      ]
      const ssh = children.spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
      return allocated(ssh.stderr, ports)
    },
  }
}

const configOf = (directory: string, hostKey: string, port: number): string => `
Port ${port}
ListenAddress 127.0.0.1
HostKey ${hostKey}
PidFile ${join(directory, 'sshd.pid')}
AuthorizedKeysFile ${join(directory, 'authorized_keys')}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
PrintMotd no
PrintLastLog no
`

/** The ports that sshd chose; ssh says them on standard error, one line each. */
function allocated(stderr: Readable | null, targets: number[]): Promise<number[]> {
  return new Promise((resolve, reject) => {
    let text = ''
    stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const found = targets.map((target) => {
        const line = new RegExp(`Allocated port (\\d+) for remote forward to 127\\.0\\.0\\.1:${target}\\b`).exec(text)
        return Number(line?.[1] ?? 0)
      })
      if (found.every((port) => port > 0)) resolve(found)
    })
    stderr?.once('end', () => reject(new Error(`ssh -R ended: ${text}`)))
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function listening(port: number): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (isOpen) return
    if (Date.now() > deadline) throw new Error(`sshd does not listen on port ${port}: look at its log`)
    await sleep(POLL_MS)
  }
}
