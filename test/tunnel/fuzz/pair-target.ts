// Two honest sessions and a wire between them that is slow, narrow and cuts as it likes. Whatever their apps do, neither
// session may refuse the other, and what was written arrives. The input is 8 bytes of settings, then steps of 4 bytes.

import { createTunnel, type Tunnel } from '../../../tunnel/tunnel.ts'
import { type Features, hashText } from './features.ts'
import { type End, Endpoint, type PairSettings } from './pair-endpoint.ts'
import { PairWire } from './pair-wire.ts'
import type { Random } from './random.ts'
import { Finding, must, type Target } from './target.ts'
import { VirtualTime } from './virtual-time.ts'

const HEADER = 8
const STEP = 4
const MAX_STEPS = 120
/** Rounds of delivery after which what has not arrived never will. */
const MAX_DRAIN_ROUNDS = 2_000

const time = new VirtualTime()

export const pairTarget: Target = {
  name: 'pair',
  headerBytes: HEADER,
  unitBytes: STEP,
  maxBytes: HEADER + STEP * MAX_STEPS,
  generate(random) {
    const steps = Array.from({ length: 2 + random.below(40) }, () => piece(random))
    return Buffer.concat([random.bytes(HEADER), ...steps])
  },
  piece,
  execute,
}

function execute(input: Buffer, features: Features): Promise<string> {
  return time.during(async () => {
    const pair = new Pair(settingsOf(input))
    for (let at = HEADER; at + STEP <= input.length; at += STEP) {
      const [what = 0, a = 0, b = 0, c = 0] = input.subarray(at, at + STEP)
      await pair.step(what % STEPS, a, b, c)
      pair.note(what % STEPS, features)
    }
    return await pair.finish(features)
  })
}

function piece(random: Random): Buffer {
  const step = random.bytes(STEP)
  if (random.oneIn(3)) step[0] = random.below(2)
  return step
}

function settingsOf(input: Buffer): PairSettings {
  const [a = 0, b = 0, c = 0, d = 0] = input
  const initialWindowBytes = [64, 1000, 16 * 1024, 64 * 1024][a & 3] ?? 1000
  return {
    initialWindowBytes,
    maxWindowBytes: initialWindowBytes * (1 + (b & 7)),
    windowBudgetBytes: initialWindowBytes * (b >> 4),
    maxIncomingStreams: 1 + (c & 7),
    maxOutgoingStreams: 1 + (c >> 4),
    wireBytes: d & 1 ? 1 << (4 + ((d >> 1) & 15)) : Number.POSITIVE_INFINITY,
  }
}

const STEPS = 16
const SIZES = [1, 12, 63, 200, 1000, 4000, 16 * 1024, 64 * 1024] as const

class Pair {
  readonly #client: Endpoint
  readonly #server: Endpoint
  readonly #tunnels: readonly [Tunnel, Tunnel]
  readonly #wires: readonly [PairWire, PairWire]
  #isClosed = false
  #pings = 0
  #pongs = 0

  constructor(settings: PairSettings) {
    const { wireBytes, ...options } = settings
    const up = new PairWire(wireBytes)
    const down = new PairWire(wireBytes)
    const client = createTunnel(up.transport(down), { ...options, side: 'client' })
    const server = createTunnel(down.transport(up), { ...options, side: 'server' })
    this.#wires = [up, down]
    this.#tunnels = [client, server]
    this.#client = new Endpoint('client', client, settings)
    this.#server = new Endpoint('server', server, settings)
  }

  async step(what: number, a: number, b: number, c: number): Promise<void> {
    const endpoint = a & 1 ? this.#client : this.#server
    const wire = this.#wires[a & 1 ? 0 : 1]
    const size = SIZES[b & 7] ?? 1
    if (what === 0) await settle()
    else if (what <= 2)
      wire.deliver(what === 1 ? Number.POSITIVE_INFINITY : 1 + b * (1 + (c & 15)), c & 16 ? 1 + (c >> 5) : 0)
    else if (what <= 4) endpoint.open()
    else if (what <= 7) endpoint.write(c, size)
    else if (what === 8) endpoint.end(c)
    else if (what === 9) endpoint.read(c, 'flow', size)
    else if (what === 10) endpoint.read(c, 'pause', size)
    else if (what === 11) endpoint.read(c, 'take', size)
    else if (what === 12) endpoint.destroy(c, b)
    else if (what === 13) this.#ping(a & 1)
    else if (what === 14 && b < 16) endpoint.goAway()
    else if (what === 15 && b < 8) this.#close(a & 1)
    this.#check()
  }

  note(what: number, features: Features): void {
    const full = (this.#wires[0].isFull ? 1 : 0) | (this.#wires[1].isFull ? 2 : 0)
    features.add(100 + what, full | (Math.min(3, this.#client.streams) << 2) | (Math.min(3, this.#server.streams) << 4))
    for (const state of [...this.#client.states(), ...this.#server.states()]) features.add(200, state)
    features.addSize(300, this.#tunnels[0].bytesSent)
    features.addSize(301, this.#tunnels[1].bytesSent)
  }

  /** Lets everything arrive, ends what is open, and looks for what is missing or left. */
  async finish(features: Features): Promise<string> {
    const endpoints = [this.#client, this.#server]
    await this.#drain()
    if (!this.#isClosed) this.#checkArrived()
    for (const endpoint of endpoints) endpoint.endAll()
    await this.#drain()
    const left = `${this.#client.streams} and ${this.#server.streams}`
    must(this.#client.streams + this.#server.streams === 0, () => `streams are left: ${left}`)
    if (!this.#isClosed) this.#checkArrived()
    this.#close(0)
    await this.#drain()
    const reasons = await Promise.all(this.#tunnels.map((tunnel) => reasonOf(tunnel)))
    for (const { kind, message } of reasons)
      must(kind === 'local' || kind === 'peer', () => `an honest session ended as ${kind}: ${message}`)
    for (const endpoint of endpoints) endpoint.checkDestroyed()
    must(time.pending === 0, () => `${time.pending} timers are left`)
    must(this.#pings === this.#pongs, () => `${this.#pings} pings, ${this.#pongs} were settled`)
    const ends = [...this.#client.outcomes(this.#server), ...this.#server.outcomes(this.#client)]
    for (const end of ends) features.add(400, hashText(end) & 0xffff)
    return countOf(ends)
  }

  #ping(side: number): void {
    this.#pings += 1
    const settled = () => {
      this.#pongs += 1
    }
    this.#tunnels[side === 1 ? 0 : 1].ping().then(settled, settled)
  }

  #close(side: number): void {
    this.#isClosed = true
    void this.#tunnels[side === 1 ? 0 : 1].close('the fuzzer closes')
  }

  async #drain(): Promise<void> {
    for (let round = 0; round < MAX_DRAIN_ROUNDS; round += 1) {
      for (const endpoint of [this.#client, this.#server]) endpoint.readAll()
      await settle()
      this.#check()
      if (this.#wires.every((wire) => wire.isEmpty) && round > 0) return
      for (const wire of this.#wires) wire.deliver(Number.POSITIVE_INFINITY, 0)
    }
    throw new Finding('two sessions never come to rest')
  }

  #check(): void {
    const isBroken = !this.#isClosed && this.#tunnels.some((tunnel) => tunnel.isClosed)
    must(!isBroken, () => 'a session ended although nobody closed it')
    this.#client.checkHeld(this.#server)
    this.#server.checkHeld(this.#client)
  }

  #checkArrived(): void {
    this.#client.checkArrived(this.#server)
    this.#server.checkArrived(this.#client)
  }
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

async function reasonOf(tunnel: Tunnel) {
  must(tunnel.isClosed, () => 'a session did not end with the other')
  return tunnel.closed
}

function countOf(ends: End[]): string {
  const counts = new Map<End, number>()
  for (const end of ends) counts.set(end, (counts.get(end) ?? 0) + 1)
  return (
    [...counts]
      .sort()
      .map(([end, count]) => `${end}-${count}`)
      .join('-') || 'no-stream'
  )
}
