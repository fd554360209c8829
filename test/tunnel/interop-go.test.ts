// Our session against hashicorp/yamux, the implementation that wrote the specification. Needs Go and its package:
// apt-get install golang-go golang-github-hashicorp-yamux-dev

import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { duplexTransport } from '../../tunnel/duplex.ts'
import { createTunnel } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { portOf, readAll } from './joined.ts'

const GOPATH = '/usr/share/gocode'
const PEER_SOURCE = join(import.meta.dirname, 'interop/main.go')

const whyNot = missingParts()
if (whyNot !== undefined) console.log(`interop with hashicorp/yamux is not tested here: ${whyNot}`)

describe.skipIf(whyNot !== undefined)('hashicorp/yamux in Go', () => {
  let folder = ''
  const binary = () => join(folder, 'peer')
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'rclaude-yamux-'))
    const env = { ...process.env, GO111MODULE: 'off', GOPATH, GOCACHE: join(folder, 'cache'), GOFLAGS: '' }
    execFileSync('go', ['build', '-o', binary(), PEER_SOURCE], { env, stdio: ['ignore', 'inherit', 'inherit'] })
  }, 180_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('as client gets all bytes back from us: 20 MiB in parallel, 600 streams one by one', async () => {
    const { socket, output, exited } = await startPeer(binary(), 'client')
    const tunnel = createTunnel(duplexTransport(socket), { side: 'server' })
    tunnel.onStream((stream) => stream.pipe(stream))
    expect(await exited).toBe(0)
    expect(output()).toBe('ok 0 streams left\n')
    expect((await tunnel.closed).kind).toBe('peer')
    expect(tunnel.streams).toBe(0)
  })

  it('as server echoes what we send, answers pings and sees our ends', async () => {
    const { socket, output, exited } = await startPeer(binary(), 'server')
    const tunnel = createTunnel(duplexTransport(socket), { side: 'client' })
    expect(await tunnel.ping()).toBeLessThan(5_000)
    const exchanges = Array.from({ length: 20 }, async () => {
      const data = randomBytes(500_000)
      const stream = tunnel.open()
      const echo = readAll(stream)
      stream.write(data)
      await eventually('all is back', () => stream.bytesRead === data.length)
      stream.end()
      expect((await echo).equals(data)).toBe(true)
    })
    await Promise.all(exchanges)
    const abandoned = tunnel.open()
    abandoned.write('never mind')
    await once(abandoned, 'data')
    abandoned.destroy()
    await tunnel.ping()
    await eventually('no stream is left', () => tunnel.streams === 0)
    await tunnel.close('done')
    expect(await exited).toBe(0)
    expect(output()).toBe('ok 0 streams left\n')
  })
})

function missingParts(): string | undefined {
  try {
    execFileSync('go', ['version'], { stdio: 'ignore' })
  } catch {
    return 'go is not installed'
  }
  return existsSync(join(GOPATH, 'src/github.com/hashicorp/yamux')) ? undefined : `no yamux package under ${GOPATH}`
}

async function startPeer(binary: string, role: 'client' | 'server') {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const peer = spawn(binary, [role, `127.0.0.1:${portOf(server)}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  peer.stdout.on('data', (bytes: Buffer) => {
    output += bytes
  })
  const exited = new Promise<number | null>((resolve) => peer.on('close', resolve))
  onTestFinished(async () => {
    peer.kill('SIGKILL')
    server.close()
    await exited
  })
  const [socket] = (await once(server, 'connection')) as [Socket]
  return { socket, exited, output: () => output }
}
