/** An sshd of our own on loopback, and `ssh` into it through the line. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { Relay } from './relay.ts'
import type { Side } from './side.ts'

const SSHD = '/usr/sbin/sshd'

/** @returns why not, where there is no sshd */
export async function startSsh(through: (port: number) => Promise<Relay>): Promise<Side | string> {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-bench-ssh-'))
  const at = (name: string) => join(directory, name)
  try {
    for (const name of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)])
    if (userInfo().uid === 0) mkdirSync('/run/sshd', { recursive: true })
    execFileSync('cp', [at('user.pub'), at('authorized')])
  } catch (error) {
    return `no ssh on this machine (${(error as Error).message.split('\n')[0]})`
  }
  const port = await freePort()
  writeFileSync(
    at('config'),
    `Port ${port}\nListenAddress 127.0.0.1\nHostKey ${at('host')}\nAuthorizedKeysFile ${at('authorized')}\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n`,
  )
  const sshd = spawn(SSHD, ['-D', '-f', at('config')], { stdio: 'ignore' })
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const relay = await through(port)
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'].flatMap((one) => [
    '-o',
    one,
  ])
  return {
    argv: [
      'ssh',
      '-tt',
      '-F',
      'none',
      '-i',
      at('user'),
      '-p',
      String(relay.port),
      ...options,
      '127.0.0.1',
      'bash --norc',
    ],
    env: { PATH: process.env.PATH ?? '', HOME: directory, TERM: 'xterm' },
    close: async () => {
      relay.close()
      sshd.kill('SIGTERM')
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
