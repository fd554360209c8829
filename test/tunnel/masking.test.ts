// Inside TLS and on loopback our own frames are not masked with a random key: seen in the bytes before they are encrypted.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createPlain } from 'node:http'
import { createServer } from 'node:https'
import type { LookupFunction } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { expect, it, onTestFinished } from 'vitest'
import { type ClientOptions, WebSocketServer } from 'ws'
import { connectWebSocket } from '../../tunnel/connect.ts'
import { WEBSOCKET_LIMITS } from '../../tunnel/websocket.ts'
import { eventually } from '../helpers/eventually.ts'
import { portOf } from './joined.ts'

function certificate(): { key: Buffer; cert: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), 'rclaude-tls-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const files = { key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') }
  const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost'
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', files.key, '-out', files.cert]
  execFileSync('openssl', [...request.split(' '), ...names], { stdio: 'ignore' })
  return { key: readFileSync(files.key), cert: readFileSync(files.cert) }
}

/** The first frame that a client of ours sends, as it comes out of TLS (or off the wire): raw bytes after the 101. */
async function firstFrame(scheme: 'ws' | 'wss', host: string, isLoopback = false): Promise<Buffer> {
  const tls = scheme === 'wss' ? certificate() : undefined
  const server = tls === undefined ? createPlain() : createServer(tls)
  const wss = new WebSocketServer({ noServer: true, ...WEBSOCKET_LIMITS })
  let seen = Buffer.alloc(0)
  server.on('upgrade', (request, socket: Duplex, head) => {
    socket.on('data', (bytes: Buffer) => {
      seen = Buffer.concat([seen, bytes])
    })
    wss.handleUpgrade(request, socket, head, () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const ws of wss.clients) ws.terminate()
    await new Promise((resolve) => server.close(resolve))
  })
  const websocket: ClientOptions & { lookup: LookupFunction } = { lookup: toLoopback, ca: tls?.cert }
  const { carrier } = await connectWebSocket(`${scheme}://${host}:${portOf(server)}/`, {
    signal: AbortSignal.timeout(10_000),
    isLoopback,
    websocket,
  })
  carrier.write(Buffer.from('payload'))
  await eventually('the frame is there', () => seen.length >= 13)
  carrier.terminate()
  return seen
}

/** Every name is this machine. */
const toLoopback: LookupFunction = (_name, { all }, done) =>
  all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)

const UNMASKED = '\x82\x87\0\0\0\0payload' // RFC 6455, 5.2: FIN and binary; masked, 7 bytes; the key; the payload

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
if (!hasOpenssl) console.log('masking over wss is not tested here: openssl is not installed')

it.skipIf(!hasOpenssl)('over wss the mask key is zero, so the payload is itself', async () => {
  expect((await firstFrame('wss', '127.0.0.1')).toString('latin1')).toBe(UNMASKED)
})

it('over ws to loopback too: nothing is on the way', async () => {
  expect((await firstFrame('ws', '127.0.0.1', true)).toString('latin1')).toBe(UNMASKED)
})

it('over ws to another machine it is not: a proxy on the way must not take our bytes for HTTP', async () => {
  const frame = await firstFrame('ws', 'gateway.example')
  expect(frame.subarray(0, 2).toString('latin1')).toBe('\x82\x87')
  const key = frame.subarray(2, 6)
  const payload = frame.subarray(6).map((byte, index) => byte ^ (key[index % 4] ?? 0))
  expect(payload.toString()).toBe('payload')
  const keys = new Set([
    key.toString('hex'),
    (await firstFrame('ws', 'gateway.example')).subarray(2, 6).toString('hex'),
  ])
  expect(keys.size).toBe(2) // drawn anew
})
