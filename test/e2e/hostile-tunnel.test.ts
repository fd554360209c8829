/**
 * An agent that breaks the rules below HTTP: on a bare socket it speaks WebSocket and yamux as it likes. It may lose its
 * own connection; the gateway answers everybody else.
 */
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { encodeHeader, Flag, type FrameHeader, FrameType, GoAwayCode, HEADER_BYTES } from '../../tunnel/frame.ts'
import { eventually } from '../helpers/eventually.ts'
import { watchHealth } from '../helpers/health.ts'
import { head, rawConnection, rawExchange, statuses } from '../helpers/raw.ts'
import {
  type FrameSettings,
  Opcode,
  type RawWebSocket,
  rawWebSocket,
  webSocketFrame,
} from '../helpers/raw-websocket.ts'
import {
  type DialAs,
  dialAs,
  dialHeaders,
  newCredential,
  type StubGateway,
  startStubGateway,
} from '../helpers/stub-gateway.ts'

const SYN: Partial<FrameHeader> = { type: FrameType.windowUpdate, flags: Flag.syn, length: 0 }
const UINT32 = 0xffff_ffff
interface HostileAgent extends RawWebSocket {
  who: DialAs
  /** One yamux frame in one message. */
  frame(header: Partial<FrameHeader>, payload?: Buffer): void
  /** What the gateway said on the tunnel. */
  frames(): FrameHeader[]
}

async function hostileAgent(gateway: StubGateway): Promise<HostileAgent> {
  const launch = await gateway.launch()
  const who = { ...launch, credential: newCredential() }
  const webSocket = await dialRaw(gateway, who)
  await eventually('the task runs', async () => (await gateway.getTask(launch.taskId)).state === 'running')
  const { joinCode: _burnt, ...again } = who
  return { ...webSocket, who: again }
}

async function dialRaw(gateway: StubGateway, who: DialAs): Promise<Omit<HostileAgent, 'who'>> {
  const headers = Object.entries(dialHeaders(who)).map(([name, value]) => `${name}: ${value}`)
  const webSocket = await rawWebSocket(gateway.url, '/v1/tunnel', headers)
  return {
    ...webSocket,
    frame: (header, payload = Buffer.alloc(0)) => void webSocket.send(yamux(header, payload)),
    frames: () => framesIn(webSocket.bytes()),
  }
}

function yamux(header: Partial<FrameHeader>, payload: Buffer = Buffer.alloc(0)): Buffer {
  const whole = { type: FrameType.data, flags: 0, streamId: 1, length: payload.length, ...header }
  return Buffer.concat([encodeHeader(whole), payload])
}

function framesIn(bytes: Buffer): FrameHeader[] {
  const frames: FrameHeader[] = []
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const type = bytes.readUInt8(at + 1) as FrameType
    const length = bytes.readUInt32BE(at + 8)
    frames.push({ type, flags: bytes.readUInt16BE(at + 2), streamId: bytes.readUInt32BE(at + 4), length })
    at += HEADER_BYTES + (type === FrameType.data ? length : 0)
  }
  return frames
}

/** The attacker is gone, an honest agent with its credential comes, and the bystander never noticed anything. */
async function expectAllWell(gateway: StubGateway, who: DialAs, bystander?: { isClosed: boolean }): Promise<void> {
  const tunnel = await dialAs(gateway, who)
  expect(await tunnel.ping()).toBeGreaterThan(0)
  if (bystander !== undefined) expect(bystander.isClosed).toBe(false)
  expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200)
  expect(/a handler threw|uncaught|unhandled|request failed/i.exec(gateway.log())).toBe(null)
}

const pong = (agent: HostileAgent, value: number) =>
  eventually('the tunnel answers a ping', () => agent.frames().some((one) => isPong(one) && one.length === value))

const isPong = ({ type, flags }: FrameHeader) => type === FrameType.ping && flags === Flag.ack
const isReset = ({ flags }: FrameHeader) => (flags & Flag.rst) !== 0

const closeFrame = (code: number, reason: Buffer | string = ''): Buffer => {
  const payload = Buffer.concat([Buffer.alloc(2), Buffer.from(reason)])
  payload.writeUInt16BE(code, 0)
  return payload
}

test('an agent that breaks the WebSocket rules loses its connection, with the code that says why', async () => {
  const gateway = await startStubGateway()
  const bystander = await dialAs(gateway, { ...(await gateway.launch()), credential: newCredential() })
  const offences: Array<[what: string, payload: Buffer | string, settings: FrameSettings, code: number]> = [
    ['a text message', 'hello', { opcode: Opcode.text }, 1003],
    ['an acknowledgement that nobody agreed on', '12345', { opcode: Opcode.text }, 1003],
    ['a message of 2 MiB', Buffer.alloc(2 * 1024 * 1024), {}, 1009],
    ['a message that claims 8 EiB', '', { length: 2n ** 63n - 1n }, 1009],
    ['a message that claims 3 GiB', 'x', { length: 3 * 1024 ** 3 }, 1009],
    ['a compressed message', randomBytes(20), { rsv: 4 }, 1002],
    ['other reserved bits', 'x', { rsv: 3 }, 1002],
    ['a message without a mask', 'x', { masked: false }, 1002],
    ['an unknown opcode', 'x', { opcode: 3 }, 1002],
    ['a ping in two parts', 'x', { opcode: Opcode.ping, fin: false }, 1002],
    ['a ping that is too long', Buffer.alloc(126), { opcode: Opcode.ping }, 1002],
    ['a continuation of nothing', 'x', { opcode: Opcode.continuation }, 1002],
    ['a close code that is none', closeFrame(999), { opcode: Opcode.close }, 1002],
    ['a close code that must not be sent', closeFrame(1006), { opcode: Opcode.close }, 1002],
    ['half a close code', 'x', { opcode: Opcode.close }, 1002],
    ['a close reason that is not UTF-8', closeFrame(1000, Buffer.of(0xff, 0xfe)), { opcode: Opcode.close }, 1007],
    ['an honest close', closeFrame(4_000, 'bye'), { opcode: Opcode.close }, 4_000],
  ]
  const { who, connection } = await hostileAgent(gateway)
  connection.socket.destroy()
  const seen: Array<[string, number | undefined]> = []
  for (const [what, payload, settings] of offences) {
    const agent = await dialRaw(gateway, who)
    agent.send(payload, settings)
    seen.push([what, await agent.closeCode()])
    agent.connection.socket.destroy()
  }
  expect(seen).toEqual(offences.map(([what, , , code]) => [what, code]))
  await expectAllWell(gateway, who, bystander)
}, 60_000)

test('an agent that breaks the yamux rules hears go-away, and its tunnel is over', async () => {
  const gateway = await startStubGateway()
  const bystander = await dialAs(gateway, { ...(await gateway.launch()), credential: newCredential() })
  const offences: Array<[what: string, messages: Buffer[]]> = [
    ['noise', [Buffer.concat([Buffer.of(7), randomBytes(4_000)])]],
    ['HTTP', [Buffer.from('GET / HTTP/1.1\r\nHost: gateway\r\n\r\n')]],
    ['an unknown type', [yamux({ type: 9 as FrameType })]],
    ['4 GiB of data with its SYN', [yamux({ flags: Flag.syn, length: UINT32 })]],
    ['more data than the window', [yamux({ flags: Flag.syn }, Buffer.alloc(100_000))]],
    ['credit beyond 4 GiB', [yamux(SYN), yamux({ type: FrameType.windowUpdate, length: UINT32 })]],
    ["a stream with the gateway's parity", [yamux({ ...SYN, streamId: 1_000 })]],
    ['a stream twice', [Buffer.concat([yamux(SYN), yamux(SYN)])]],
    ['data on no stream', [yamux({ streamId: 77 }, Buffer.from('x'))]],
    // In one message: once the gateway has ended its half too, the stream is over and what comes is ignored.
    ['data after FIN', [Buffer.concat([yamux({ flags: Flag.syn | Flag.fin }), yamux({}, Buffer.from('x'))])]],
    ['a ping on a stream', [yamux({ type: FrameType.ping, flags: Flag.syn, streamId: 1 })]],
    ['a header in 12 messages', [...Buffer.alloc(HEADER_BYTES, 0xff)].map((byte) => Buffer.of(byte))],
  ]
  const { who, connection } = await hostileAgent(gateway)
  connection.socket.destroy()
  for (const [what, messages] of offences) {
    const agent = await dialRaw(gateway, who)
    for (const message of messages) agent.send(message)
    expect([what, await agent.closeCode()]).toEqual([what, 1000])
    const last = agent.frames().at(-1)
    expect([what, last?.type, last?.length]).toEqual([what, FrameType.goAway, GoAwayCode.protocolError])
    agent.connection.socket.destroy()
  }
  await expectAllWell(gateway, who, bystander)
}, 60_000)

test('go-away with an error ends the tunnel; a plain one is taken at its word', async () => {
  const gateway = await startStubGateway()
  const agent = await hostileAgent(gateway)
  agent.frame({ type: FrameType.goAway, streamId: 0, length: GoAwayCode.normal })
  // Then data all the same: a stream of its own, which is served.
  agent.frame({ flags: Flag.syn }, Buffer.from('GET /nothing HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n'))
  await eventually('the stream is answered', () => agent.bytes().includes('HTTP/1.1 404'))
  agent.frame({ type: FrameType.goAway, streamId: 0, length: GoAwayCode.internalError })
  agent.frame({ ...SYN, streamId: 3 })
  expect(await agent.closeCode()).toBe(1000)
  agent.connection.socket.destroy()
  await expectAllWell(gateway, agent.who)
})

const floods: Array<[what: string, (agent: HostileAgent) => Promise<void>]> = [
  [
    '10,000 SYNs',
    async (agent) => {
      await sendMany(agent, 10_000, (n) => yamux({ ...SYN, streamId: 2 * n + 1 }))
      await eventually('all but eight are refused', () => agent.frames().filter(isReset).length === 10_000 - 8)
    },
  ],
  [
    '30,000 streams that are reset at once (rapid reset)',
    async (agent) => {
      const open = (n: number) => yamux({ flags: Flag.syn, streamId: 2 * n + 1 }, Buffer.from('GET /git/info/refs '))
      const reset = (n: number) => yamux({ ...SYN, flags: Flag.rst, streamId: 2 * n + 1 })
      await sendMany(agent, 30_000, (n) => Buffer.concat([open(n), reset(n)]))
    },
  ],
  [
    '3,000 streams with a request that are reset before its answer',
    async (agent) => {
      const request = Buffer.from('PUT /artifacts/x HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\nhalf')
      for (let n = 0; n < 3_000; n += 1) {
        agent.frame({ flags: Flag.syn, streamId: 2 * n + 1 }, request)
        if (n % 4 === 3) await nextTurn()
        agent.frame({ ...SYN, flags: Flag.rst, streamId: 2 * n + 1 })
      }
    },
  ],
  [
    '200,000 pings',
    async (agent) => {
      await sendMany(agent, 200_000, (n) => yamux({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: n }))
      await eventually('all are answered', () => agent.frames().filter(isPong).length === 200_000, 30_000)
    },
  ],
  [
    '200,000 window updates',
    async (agent) => {
      agent.frame(SYN)
      await sendMany(agent, 200_000, () => yamux({ type: FrameType.windowUpdate, length: 1 }))
    },
  ],
  [
    '200,000 empty data frames',
    async (agent) => {
      agent.frame(SYN)
      await sendMany(agent, 200_000, () => yamux({}))
    },
  ],
  [
    '50,000 empty WebSocket messages',
    async (agent) => {
      const empty = Buffer.concat(Array.from({ length: 500 }, () => webSocketFrame('')))
      for (let n = 0; n < 100; n += 1) {
        agent.connection.socket.write(empty)
        await nextTurn()
      }
    },
  ],
]

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

/** In messages of 500, with the gateway's other work in between. */
async function sendMany(agent: HostileAgent, count: number, frame: (n: number) => Buffer): Promise<void> {
  for (let n = 0; n < count; n += 500) {
    agent.send(Buffer.concat(Array.from({ length: Math.min(500, count - n) }, (_, k) => frame(n + k))))
    await nextTurn()
  }
}

test.each(floods)(
  'an agent that sends %s stops nobody, not even itself',
  async (_what, flood) => {
    const gateway = await startStubGateway()
    const agent = await hostileAgent(gateway)
    const health = watchHealth(gateway)
    await flood(agent)
    agent.frame({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: 4_711 })
    await pong(agent, 4_711)
    await health.expectGood()
    agent.connection.socket.destroy()
    await expectAllWell(gateway, agent.who)
  },
  60_000,
)

test('an agent that floods with WebSocket pings is cut off', async () => {
  const gateway = await startStubGateway()
  const agent = await hostileAgent(gateway)
  const health = watchHealth(gateway)
  agent.connection.socket.write(
    Buffer.concat(Array.from({ length: 5_000 }, () => webSocketFrame('', { opcode: Opcode.ping }))),
  )
  await agent.connection.closed()
  await health.expectGood()
  await expectAllWell(gateway, agent.who)
}, 60_000)

test('an agent that asks without end and never reads the answers is cut off', async () => {
  const gateway = await startStubGateway()
  const agent = await hostileAgent(gateway)
  const { socket } = agent.connection
  socket.pause()
  const health = watchHealth(gateway)
  let isOver = false
  socket.once('close', () => {
    isOver = true
  })
  const pings = webSocketFrame(
    Buffer.concat(
      Array.from({ length: 5_000 }, (_, n) => yamux({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: n })),
    ),
  )
  await eventually(
    'the gateway has had enough',
    async () => {
      if (!isOver && socket.writableLength < 1024 * 1024) socket.write(pings)
      return gateway.log().includes('the other side does not read')
    },
    40_000,
  )
  await health.expectGood()
  socket.destroy()
  await expectAllWell(gateway, agent.who)
}, 60_000)

test('handshakes that are never completed cost nobody else anything, and end', async () => {
  const gateway = await startStubGateway({ limits: { handshakeTimeout: '1s' } })
  const begin = head(gateway.url, 'GET /v1/tunnel HTTP/1.1', 'Connection: Upgrade', 'Upgrade: websocket').slice(0, -2)
  const half = await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const connection = await rawConnection(gateway.url)
      connection.send(begin.slice(0, n))
      return connection
    }),
  )
  const health = watchHealth(gateway)
  await Promise.all(half.map((connection) => connection.closed(20_000)))
  await health.expectGood()
  // A whole handshake with half of what belongs into it is refused at once.
  const { taskId, launchId } = await gateway.launch()
  const who = dialHeaders({ taskId, launchId, credential: newCredential() })
  const lines = Object.entries(who).map(([name, value]) => `${name}: ${value}`)
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket']
  for (const more of [upgrade, [...upgrade, ...lines], [...upgrade, 'Sec-WebSocket-Version: 13', ...lines]]) {
    const answer = await rawExchange(gateway.url, head(gateway.url, 'GET /v1/tunnel HTTP/1.1', ...more))
    expect(statuses(answer)).toEqual([401])
  }
}, 60_000)
