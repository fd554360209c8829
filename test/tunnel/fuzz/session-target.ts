// A session between a hostile peer, a slow transport and a restless app. The input is 8 bytes of settings and then steps
// of 8 bytes: what, three small arguments, and a number.

import type { Features } from './features.ts'
import { patternAt } from './pattern.ts'
import type { Random } from './random.ts'
import { ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, UINT32, WINDOW, writeFrame } from './reference.ts'
import type { Entry } from './session-model.ts'
import { type Handle, SessionWorld, type WorldSettings } from './session-world.ts'
import type { Target } from './target.ts'
import { VirtualTime } from './virtual-time.ts'

const STEP = 8
const MAX_STEPS = 80
/** What one execution may send in all: the fuzzer looks for states, not for throughput. */
const MAX_SENT_BYTES = 1024 * 1024

interface Step {
  readonly a: number
  readonly b: number
  readonly c: number
  readonly d: number
  readonly raw: Buffer
}

type Act = (world: SessionWorld, step: Step) => void | Promise<void>

const time = new VirtualTime()

export const sessionTarget: Target = {
  name: 'session',
  headerBytes: STEP,
  unitBytes: STEP,
  maxBytes: STEP * (MAX_STEPS + 1),
  generate: (random) =>
    Buffer.concat(
      Array.from({ length: 2 + random.below(24) }, (_, n) => (n === 0 ? random.bytes(STEP) : piece(random))),
    ),
  piece,
  execute,
}

function execute(input: Buffer, features: Features): Promise<string> {
  return time.during(async () => {
    const world = new SessionWorld(settingsOf(input), time, features)
    for (let at = STEP; at + STEP <= input.length; at += STEP) {
      const raw = input.subarray(at, at + STEP)
      const [what = 0, a = 0, b = 0, c = 0] = raw
      const index = what % ACTS.length
      await ACTS[index]?.(world, { a, b, c, d: raw.readUInt32BE(4), raw })
      world.check()
      note(world, index, features)
      if (world.tunnel.bytesReceived > MAX_SENT_BYTES) break
    }
    return await world.finish()
  })
}

function piece(random: Random): Buffer {
  const step = random.bytes(STEP)
  if (random.oneIn(4)) step[0] = TICK
  // Small numbers meet more than big ones.
  if (random.oneIn(2)) step.writeUInt32BE(random.below(200), 4)
  return step
}

function settingsOf(input: Buffer): WorldSettings {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = input
  const side = a & 1 ? 'client' : 'server'
  const initialWindowBytes = [64, 1024, 16 * 1024, 64 * 1024][(a >> 1) & 3] ?? 1024
  const first = side === 'client' ? 1 : 2
  return {
    side,
    takesStreams: (a & 8) === 0,
    initialWindowBytes,
    maxWindowBytes: initialWindowBytes * (1 << (b & 3)),
    windowBudgetBytes: initialWindowBytes * (b >> 5),
    maxIncomingStreams: 1 + (c & 7),
    maxOutgoingStreams: 1 + (d & 7),
    firstStreamId: e === 255 ? UINT32 - (side === 'client' ? 2 : 3) : first,
  }
}

/** Where the session is now, coarsely: finer features would keep nearly every input. */
function note({ tunnel, model, transport, handles }: SessionWorld, act: number, features: Features): void {
  const flags = [tunnel.isClosed, transport.isFull, model.saidGoAway, model.peerSaidGoAway, tunnel.streams > 0]
  features.add(100 + act, bitsOf(flags))
  const { entry, stream } = handles[0] ?? {}
  if (entry === undefined || stream === undefined) return
  const ends = [entry.peerFin, entry.sessionFin, entry.isGone, stream.destroyed, entry.appEnded]
  const bytes = [entry.sessionCredit === 0, entry.peerCredit === 0, entry.unread.length > 0, entry.wrote > entry.sent]
  features.add(200, bitsOf(ends))
  features.add(201, bitsOf([...bytes, stream.readableFlowing === true]))
}

const bitsOf = (flags: readonly boolean[]): number => flags.reduce((sum, flag, at) => (flag ? sum | (1 << at) : sum), 0)

// --- arguments ---

const nth = (world: SessionWorld, n: number): Handle | undefined => world.handles[n % Math.max(1, world.handles.length)]

/** One of the first streams, whoever opened them, also those that are over. */
function nthEntry({ model }: SessionWorld, n: number): Entry | undefined {
  let left = n % Math.max(1, Math.min(32, model.entries.size))
  for (const entry of model.entries.values()) {
    if (left === 0) return entry
    left -= 1
  }
  return undefined
}

const SIZES = [0, 1, 7, 12, 64, 300, 1024, 5000, 16 * 1024, 40 * 1024] as const
const sizeOf = (n: number): number => SIZES[n % SIZES.length] ?? 1

function idOf(world: SessionWorld, c: number, d: number): number {
  if (c < 128) return nthEntry(world, c)?.id ?? 1
  if (c < 192) return world.nextPeerId
  if (c < 224) return c & 15
  if (c < 240) return world.model.nextOwnId
  return d
}

/** A length that is about right, or not at all. */
function lengthOf(entry: Entry | undefined, b: number, d: number): number {
  const credit = entry?.peerCredit ?? 1024
  const room = UINT32 - (entry?.sessionCredit ?? 0)
  return [d, 0, 1, credit, credit + 1, UINT32, room, room + 1, d & 0xffff, 0x8000_0000][b % 10] ?? d
}

/** Payload that the peer's credit covers, with a frame around it. */
function sendData(world: SessionWorld, entry: Entry | undefined, wanted: number, flags: number): void {
  if (entry === undefined) return
  const length = Math.min(wanted, entry.peerFin ? 0 : entry.peerCredit, 64 * 1024)
  world.send(writeFrame({ id: entry.id, flags }, patternAt(entry.received, length)))
}

function newPeerId(world: SessionWorld): number {
  const id = world.nextPeerId
  world.nextPeerId += 2
  return id
}

// --- what can happen ---

const tick: Act = (world) => world.settle()

const ACTS: readonly Act[] = [
  tick,
  // The peer, as it likes: any frame, a header without its payload, bytes, payload.
  (world, { a, b, c, d }) => {
    const payload = patternAt(d, (a & 3) === DATA ? sizeOf(b) : 0)
    const length = (a & 3) === DATA ? payload.length : lengthOf(nthEntry(world, c), b, d)
    world.send(writeFrame({ type: a & 3, flags: (a >> 2) & 15, id: idOf(world, c, d), length }, payload))
  },
  (world, { a, b, c, d }) => {
    const length = lengthOf(nthEntry(world, c), b, d)
    world.send(writeFrame({ type: a & 3, flags: (a >> 2) & 15, id: idOf(world, c, d), length }))
  },
  (world, { raw }) => world.send(raw.subarray(1, 2 + ((raw[1] ?? 0) % 7))),
  (world, { b, d }) => world.send(patternAt(d, sizeOf(b))),
  // The peer, as it should.
  (world) => world.send(writeFrame({ type: WINDOW, flags: SYN, id: newPeerId(world) })),
  (world, { a, b, d }) =>
    world.send(writeFrame({ flags: SYN | (a & FIN), id: newPeerId(world) }, patternAt(d, b & 63))),
  (world, { a, b, c }) => sendData(world, nthEntry(world, c), sizeOf(b), a & FIN),
  (world, { c }) => sendData(world, nthEntry(world, c), UINT32, 0),
  (world, { a, c, d }) => {
    const entry = nthEntry(world, c)
    if (entry) world.send(writeFrame({ type: WINDOW, flags: a & (ACK | FIN), id: entry.id, length: d & 0xffff }))
  },
  (world, { c }) => sendData(world, nthEntry(world, c), 0, FIN),
  (world, { a, c }) => {
    const entry = nthEntry(world, c)
    if (entry) world.send(writeFrame({ type: a & WINDOW, flags: RST | (a & ACK), id: entry.id }))
  },
  (world, { c }) => {
    const own = [...world.model.entries.values()].filter(({ isOurs }) => isOurs)
    const entry = own[c % Math.max(1, own.length)]
    if (entry) world.send(writeFrame({ type: WINDOW, flags: ACK, id: entry.id }))
  },
  (world, { a, d }) => world.send(writeFrame({ type: PING, flags: a & 3, id: 0, length: d })),
  (world, { a }) => {
    const goAway = writeFrame({ type: GO_AWAY, id: 0, length: a & 8 ? a & 3 : 0 })
    const more = a & 16 ? writeFrame({ flags: SYN, id: newPeerId(world) }, patternAt(0, 9)) : Buffer.alloc(0)
    world.send(Buffer.concat([goAway, more]))
  },
  (world, { a, b, c, d }) => flood(world, { a, b, c, d }),
  (world, { a, b }) => {
    if (a & 1) world.cutBytes = b & 2 ? 1 + (b >> 2) : 0
    else if (world.held === undefined) world.held = []
    else world.sendHeld()
  },
  // The app.
  (world) => world.open(),
  (world, { a, b, c }) => {
    const handle = nth(world, c)
    for (let left = a & 3; handle !== undefined && left >= 0; left -= 1) world.write(handle, sizeOf(b))
  },
  (world, { c }) => {
    const handle = nth(world, c)
    if (handle) world.endWriting(handle)
  },
  (world, { a, c }) => {
    const handle = nth(world, c)
    if (handle) world.destroy(handle, a & 1 ? 'soon' : 'now')
  },
  (world, { a, b, c }) => read(nth(world, c), a, b),
  (world, { a, b, c }) => {
    const handle = nth(world, c)
    if (handle) handle.reaction = reactionOf(world, handle, a, b)
  },
  (world, { a, c }) => void nth(world, c)?.stream.setTimeout(a & 1 ? 0 : 200 + a * 20),
  (world) => world.ping(),
  (world, { a }) => (a < 64 ? world.goAway() : undefined),
  (world, { a }) => (a < 32 ? world.close() : world.takeStreams()),
  // The transport and the clock.
  (world, { a, b }) => {
    if (a & 1) world.transport.capacity = b & 1 ? Number.POSITIVE_INFINITY : b << 6
    else world.transport.drain()
  },
  (world, { a }) => {
    if (a < 32) world.endTransport((a & 1) === 0)
  },
  async (world, { a }) => {
    world.advance([1, 50, 1_000, 4_999, 5_000, 10_000, 15_000, 60_000][a & 7] ?? 1)
    await world.settle()
  },
  tick,
]
const TICK = 0

function read(handle: Handle | undefined, a: number, b: number): void {
  const stream = handle?.stream
  if ((a & 3) === 0) stream?.pause()
  else if ((a & 3) === 1) stream?.read(sizeOf(b))
  else stream?.resume()
}

function reactionOf(world: SessionWorld, handle: Handle, a: number, b: number): () => void {
  switch (a % 7) {
    case 0:
      return () => void handle.stream.destroy()
    case 1:
      return () => world.endWriting(handle)
    case 2:
      return () => world.write(handle, sizeOf(b))
    case 3:
      return () => void handle.stream.pause()
    case 4:
      return () => world.goAway()
    case 5:
      return () => world.open()
    default:
      return () => (b < 64 ? world.close() : undefined)
  }
}

/** The same small frames many times: mostly a few, now and then more than the session puts up with. */
function flood(world: SessionWorld, { a, b, c, d }: Omit<Step, 'raw'>): void {
  const count = b === 255 && d > 0xff00_0000 ? 10_050 : b % 50
  const entry = nthEntry(world, c)
  const parts: Buffer[] = []
  for (let n = 0; n < count; n += 1) {
    if (a % 5 === 0) parts.push(writeFrame({ type: PING, flags: SYN, id: 0, length: n }))
    else if (a % 5 === 1) parts.push(writeFrame({ type: WINDOW, flags: SYN, id: newPeerId(world) }))
    else if (a % 5 === 2) {
      const id = newPeerId(world)
      parts.push(writeFrame({ type: WINDOW, flags: SYN, id }), writeFrame({ type: WINDOW, flags: RST, id }))
    } else if (entry !== undefined && a % 5 === 3)
      parts.push(writeFrame({ type: WINDOW, id: entry.id, length: d & 0xff }))
    else if (entry !== undefined)
      parts.push(writeFrame({ id: entry.id }, patternAt(entry.received + n, n < 64 ? 1 : 0)))
  }
  world.send(Buffer.concat(parts))
}
