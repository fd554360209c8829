// One run: two ends of a tunnel, streams in both directions, and everything that the schedule says goes wrong. In the end
// every stream has arrived whole and once, and nothing is left: no timer, no listener, no byte held.

import type { Duplex } from 'node:stream'
import { AcceptedSessions } from '../../../tunnel/accept-session.ts'
import { type Dialled, SessionDialler } from '../../../tunnel/dial-session.ts'
import { ReplayBudget } from '../../../tunnel/replay-budget.ts'
import { parseAsk } from '../../../tunnel/resume-headers.ts'
import { createTunnel, OWN_PEER, type Tunnel } from '../../../tunnel/tunnel.ts'
import { VirtualConnection } from './network.ts'
import { type Random, randomOf } from './random.ts'
import type { Schedule, StreamPlan } from './schedule.ts'
import { VirtualClock } from './virtual-clock.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
/** No run takes longer, in its own time. */
const LIMIT_MS = 3_600_000

export interface RunResult {
  /** Empty if all is well. */
  readonly faults: string[]
  readonly resumes: number
  readonly connections: number
  readonly virtualMs: number
  readonly bytes: number
}

export async function runSchedule(schedule: Schedule): Promise<RunResult> {
  const world = new World(schedule)
  const isComplete = await world.run()
  const faults = world.check(isComplete)
  const { resumes = 0 } = world.dialler.tunnel?.stats() ?? {}
  await world.close()
  return {
    faults: [...faults, ...world.leftovers()],
    resumes,
    connections: world.connections.length,
    virtualMs: world.clock.now(),
    bytes: world.transfers.reduce((sum, { received }) => sum + received, 0),
  }
}

/** Random bytes that everything sent is a part of. */
const SOURCE = Buffer.alloc(512 * 1024)
const sourceRandom = randomOf(1)
for (let at = 0; at < SOURCE.length; at += 4) SOURCE.writeUInt32LE(Math.floor(sourceRandom.next() * 2 ** 32), at)

/** One direction of one stream. */
interface Transfer {
  readonly name: string
  readonly expected: Buffer
  received: number
  hasEnded: boolean
  wrong: string | undefined
}

class World {
  readonly clock = new VirtualClock()
  readonly transfers: Transfer[] = []
  readonly connections: VirtualConnection[] = []
  readonly dialler: SessionDialler
  readonly #random: Random
  readonly #schedule: Schedule
  readonly #budget = new ReplayBudget()
  readonly #sessions: AcceptedSessions
  readonly #tunnels: Tunnel[] = []
  readonly #streams: Duplex[] = []
  /** What the accepting end has begun last; the dialling end may not know it yet, or never. */
  #accepted: Tunnel | undefined
  #sessionsWhenBegun = 0
  #sessionCount = 0
  #dials = 0
  #isOver = false

  constructor(schedule: Schedule) {
    const { clock } = this
    this.#schedule = schedule
    this.#random = randomOf(schedule.seed ^ 0x5eed)
    const resumable = { clock, budget: this.#budget }
    this.#sessions = new AcceptedSessions({ ...resumable, newId: () => `${++this.#sessionCount}`.padStart(22, '_') })
    this.dialler = new SessionDialler({
      dial: (headers) => this.#dial(headers),
      tunnel: { ...OWN_PEER, clock, side: 'client' },
      resumable,
    })
  }

  /** Resolves with whether all streams arrived. */
  run(): Promise<boolean> {
    void this.#keepDialled()
    return this.clock.run(() => this.#isFinished(), LIMIT_MS)
  }

  check(isComplete: boolean): string[] {
    const faults = this.transfers.flatMap(({ name, wrong }) => (wrong === undefined ? [] : [`${name}: ${wrong}`]))
    if (this.#schedule.isDoomed) return faults // whether it came through depends on when the first connection broke
    const more = this.#sessionCount - this.#sessionsWhenBegun
    if (more > 0) faults.push(`${more} sessions began after the first`)
    if (this.#tunnels.some(({ isClosed }) => isClosed)) faults.push('a tunnel ended')
    if (!isComplete) {
      const open = this.transfers.filter((transfer) => !isWhole(transfer))
      faults.push(`not complete: ${open.map((one) => `${one.name} ${one.received}/${one.expected.length}`).join(', ')}`)
    }
    return faults
  }

  async close(): Promise<void> {
    this.#isOver = true
    for (const tunnel of this.#tunnels) await tunnel.close('the run is over')
    await this.clock.run(() => false, LIMIT_MS * 2)
  }

  leftovers(): string[] {
    const left: [string, number][] = [
      ['timers', this.clock.pending],
      ['bytes held for replay', this.#budget.usedBytes],
      ['sessions', this.#sessions.size],
      ['streams', this.#tunnels.reduce((sum, { streams }) => sum + streams, 0)],
      ['streams that are not destroyed', this.#streams.filter(({ destroyed }) => !destroyed).length],
      ['carriers in use', this.connections.flatMap((one) => ENDS.filter((end) => one.carrier(end).isInUse)).length],
    ]
    return left.filter(([, count]) => count !== 0).map(([what, count]) => `left behind: ${count} ${what}`)
  }

  #isFinished(): boolean {
    if (this.#schedule.isDoomed && this.#tunnels.length > 0 && this.#tunnels.every(({ isClosed }) => isClosed))
      return true
    return this.transfers.length === this.#schedule.streams.length * 2 && this.transfers.every(isWhole)
  }

  // --- dialling ---

  async #keepDialled(): Promise<void> {
    while (!this.#isOver) {
      try {
        const { tunnel, isNew, lost } = await this.dialler.connect(new AbortController().signal)
        if (isNew) this.#begin(tunnel)
        await lost
        if (tunnel.isClosed) return
      } catch {
        // refused, or without an answer: again
      }
      await this.clock.sleep(this.#random.integer(1, 1_000))
    }
  }

  async #dial(headers: Record<string, string>): Promise<Dialled> {
    const number = this.#dials++
    const { latencyMs, dials, isDoomed, connections } = this.#schedule
    const fault = dials[number] ?? 'none'
    await this.clock.sleep(latencyMs)
    if (fault === 'refused' || (isDoomed && number > 0)) throw new Error('refused')
    if (fault === 'late') {
      this.clock.after(HANDSHAKE_TIMEOUT_MS + 5_000, () => {
        if (!this.#isOver) this.#acceptLate(headers)
      })
      return this.#noAnswer()
    }
    const connectionFault = connections[this.connections.length] ?? { kind: 'none' as const }
    const connection = new VirtualConnection(this.clock, this.#random, this.#schedule, connectionFault)
    const answer = this.#accept(headers, connection)
    if (fault === 'answer lost') {
      if (this.#random.chance(0.5)) this.clock.after(HANDSHAKE_TIMEOUT_MS, () => connection.cut())
      return this.#noAnswer()
    }
    await this.clock.sleep(latencyMs)
    const unused = { start() {}, write: () => true, close: async () => {}, destroy() {} }
    return { headers: answer, carrier: connection.carrier('dialler'), transport: unused }
  }

  async #noAnswer(): Promise<never> {
    await this.clock.sleep(HANDSHAKE_TIMEOUT_MS)
    throw new Error('no answer')
  }

  #accept(headers: Record<string, string>, connection: VirtualConnection): Record<string, string> {
    const ask = parseAsk(headers)
    if (ask === undefined) throw new Error('no session was asked for')
    const admission = this.#sessions.admit('owner', ask)
    this.connections.push(connection)
    if (admission.isNew) {
      this.#accepted = createTunnel(admission.transport, { ...OWN_PEER, clock: this.clock, side: 'server' })
    }
    admission.attach(connection.carrier('acceptor'))
    return admission.headers
  }

  /** A dial that the dialler has given up long ago. Only a stale epoch may keep it from taking the session over. */
  #acceptLate(headers: Record<string, string>): void {
    const connection = new VirtualConnection(this.clock, this.#random, this.#schedule, { kind: 'none' })
    try {
      this.#accept(headers, connection)
    } catch {
      return // a later one was here
    }
    this.clock.after(1_000, () => connection.cut()) // its dialler is not there
  }

  // --- streams ---

  /** The dialling end has a tunnel, and the accepting end the other half of it. */
  #begin(dialled: Tunnel): void {
    const accepted = this.#accepted
    if (accepted === undefined || this.#tunnels.length > 0) return // a second one is a fault, see check()
    this.#sessionsWhenBegun = this.#sessionCount
    this.#tunnels.push(dialled, accepted)
    for (const tunnel of this.#tunnels) tunnel.onStream((stream) => void this.#serve(stream))
    this.#schedule.streams.forEach((plan, index) => {
      const tunnel = plan.openedBy === 'dialler' ? dialled : accepted
      this.clock.after(plan.openAtMs, () => this.#open(tunnel, plan, index))
    })
  }

  #open(tunnel: Tunnel, plan: StreamPlan, index: number): void {
    if (tunnel.isClosed) return
    const stream = tunnel.open()
    stream.write(Buffer.from([index]))
    this.#use(stream, plan, index, 0)
  }

  /** The first byte of a stream says which one of the plan it is. */
  #serve(stream: Duplex): void {
    stream.once('readable', () => {
      const first: Buffer | null = stream.read(1)
      const index = first?.[0] ?? 0
      const plan = this.#schedule.streams[index]
      if (plan === undefined) stream.destroy()
      else this.#use(stream, plan, index, 1)
    })
  }

  /** `side` 0 opened the stream, 1 accepted it. */
  #use(stream: Duplex, plan: StreamPlan, index: number, side: 0 | 1): void {
    this.#streams.push(stream)
    stream.on('error', () => {})
    const direction = (from: 0 | 1) => SOURCE.subarray(index * 1_000 + from * 500).subarray(0, plan.bytes[from])
    void this.#send(stream, direction(side), plan)
    const transfer: Transfer = {
      name: `stream ${index} ${side === 1 ? 'to' : 'from'} its acceptor`,
      expected: direction(side === 0 ? 1 : 0),
      received: 0,
      hasEnded: false,
      wrong: undefined,
    }
    this.transfers.push(transfer)
    this.#receive(stream, transfer, plan)
  }

  async #send(stream: Duplex, content: Buffer, { writeBytes }: StreamPlan): Promise<void> {
    for (let at = 0; at < content.length && !stream.destroyed; at += writeBytes) {
      if (stream.write(content.subarray(at, at + writeBytes))) continue
      await new Promise<void>((resolve) => {
        const done = () => {
          stream.off('drain', done).off('close', done)
          resolve()
        }
        stream.on('drain', done).on('close', done)
      })
    }
    if (!stream.destroyed) stream.end()
  }

  #receive(stream: Duplex, transfer: Transfer, { restMs, restEveryBytes }: StreamPlan): void {
    let untilRest = restEveryBytes
    stream.on('data', (bytes: Buffer) => {
      const expected = transfer.expected.subarray(transfer.received, transfer.received + bytes.length)
      if (!bytes.equals(expected)) transfer.wrong ??= `other bytes than were sent after ${transfer.received}`
      transfer.received += bytes.length
      untilRest -= bytes.length
      if (restMs === 0 || untilRest > 0) return
      untilRest = restEveryBytes
      stream.pause()
      this.clock.after(restMs, () => stream.resume())
    })
    stream.on('end', () => {
      transfer.hasEnded = true
      if (transfer.received !== transfer.expected.length) transfer.wrong ??= `ended after ${transfer.received} bytes`
    })
  }
}

const ENDS = ['dialler', 'acceptor'] as const

const isWhole = ({ expected, received, hasEnded }: Transfer): boolean => hasEnded && received === expected.length
