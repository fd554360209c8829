// A resumable transport between a writer that keeps to the rules and another side that may say anything: positions and
// acknowledgements that can be or cannot, connections that come, fill up, break and are replaced. What leaves is read at the
// moment it leaves, as the operating system does, so memory that is used again too early shows. The input is 4 bytes of
// settings, then steps of 4 bytes.

import { writeBlocks } from '../../../tunnel/block-pool.ts'
import { ReplayBudget } from '../../../tunnel/replay-budget.ts'
import { ResumableTransport } from '../../../tunnel/resumable.ts'
import type { Carrier, CarrierReceiver, TransportEnd } from '../../../tunnel/transport.ts'
import { VirtualClock } from '../chaos/virtual-clock.ts'
import { type Features, hashText } from './features.ts'
import { patternAt } from './pattern.ts'
import type { Random } from './random.ts'
import { must, type Target } from './target.ts'

const HEADER = 4
const STEP = 4
const MAX_STEPS = 160
const SIZES = [1, 12, 500, 4_095, 4_096, 20_000, 60_000, 65_536] as const
/** A connection is full when it holds more. */
const FULL_BYTES = 128 * 1024

export const resumeTarget: Target = {
  name: 'resume',
  headerBytes: HEADER,
  unitBytes: STEP,
  maxBytes: HEADER + STEP * MAX_STEPS,
  generate(random) {
    return Buffer.concat([random.bytes(HEADER), ...Array.from({ length: 4 + random.below(60) }, () => piece(random))])
  },
  piece,
  execute,
}

const STEPS = 16

/** Mostly what moves bytes. */
function piece(random: Random): Buffer {
  const step = random.bytes(STEP)
  if (!random.oneIn(3)) step[0] = random.below(8)
  return step
}

function execute(input: Buffer, features: Features): string {
  const world = new World(new ReplayBudget(([64, 512, 2_048, 8_192][(input[0] ?? 0) & 3] ?? 64) * 1024))
  for (let at = HEADER; at + STEP <= input.length; at += STEP) {
    const [what = 0, a = 0, b = 0] = input.subarray(at, at + STEP)
    world.step(what % STEPS, a, b)
    world.check()
    world.note(what % STEPS, features)
  }
  return world.finish(features)
}

/** What was given to one connection and has not left yet. */
interface Queued {
  readonly bytes: Buffer
  readonly position: number
}

class Connection implements Carrier {
  readonly queue: Queued[] = []
  readonly texts: string[] = []
  /** Up to where the other side has everything, and up to where this connection was given everything. */
  arrived: number
  given: number
  receiver: CarrierReceiver | undefined
  isLeft = false
  isFull = false

  constructor(position: number) {
    this.arrived = position
    this.given = position
  }

  get queuedBytes(): number {
    return this.given - this.arrived
  }

  start(receiver: CarrierReceiver): void {
    this.receiver = receiver
  }

  write(bytes: Buffer): boolean {
    must(!this.isLeft, () => 'a connection that was left is written to')
    this.queue.push({ bytes, position: this.given })
    this.given += bytes.length
    this.isFull = this.queuedBytes > FULL_BYTES
    return !this.isFull
  }

  writeText(text: string): void {
    this.texts.push(text)
  }

  async close(): Promise<void> {
    while (this.queue.length > 0) this.leave()
    this.detach()
  }

  detach(): void {
    this.isLeft = true
    this.receiver = undefined
  }

  /** The next piece leaves, and arrives. */
  leave(): void {
    const next = this.queue.shift()
    if (next === undefined) return
    const { bytes, position } = next
    must(bytes.equals(patternAt(position, bytes.length)), () => `other bytes left at position ${position}`)
    this.arrived = position + bytes.length
    if (!this.isFull || this.queuedBytes > FULL_BYTES / 2) return
    this.isFull = false
    this.receiver?.onDrain()
  }
}

class World {
  readonly #clock = new VirtualClock()
  readonly #budget: ReplayBudget
  readonly #transport: ResumableTransport
  #connection: Connection | undefined
  readonly #ends: TransportEnd[] = []
  #written = 0
  #acknowledged = 0
  /** The most that any connection was given. */
  #everGiven = 0
  /** What the other side has of ours. */
  #arrived = 0
  #received = 0
  #mayWrite = true
  /** What the other side said cannot be: the session must be over. */
  #isRefused = false
  #weEnded = false

  constructor(budget: ReplayBudget) {
    this.#budget = budget
    this.#transport = new ResumableTransport({ budget, clock: this.#clock })
    this.#transport.start({
      onBytes: () => {},
      onDrain: () => {
        this.#mayWrite = true
      },
      onClose: (end) => void this.#ends.push(end),
    })
  }

  get #isOver(): boolean {
    return this.#ends.length > 0
  }

  step(what: number, a: number, b: number): void {
    if (what <= 2) this.#write(SIZES[a & 7] ?? 1, b > 250)
    else if (what <= 4) for (let left = 1 + (a & 7); left > 0; left -= 1) this.#leave()
    else if (what === 5)
      this.#acknowledge(this.#acknowledged + Math.floor(((this.#arrived - this.#acknowledged) * a) / 255))
    else if (what === 6) this.#attach(this.#arrived)
    else if (what === 7) this.#receive(SIZES[a & 7] ?? 1)
    else if (what === 8) this.#acknowledge(this.#somePosition(a, b))
    else if (what === 9) this.#attach(this.#somePosition(a, b))
    else if (what === 10) this.#say(['', '-1', '01', '1e3', ' 7', '9007199254740993', 'NaN', '٣'][a & 7] ?? '')
    else if (what === 11) this.#lose(false)
    else if (what === 12) this.#clock.pass(a * b)
    else if (what === 13) this.#transport.detach('the fuzzer says so')
    else if (what === 14 && a < 16) this.#lose(true)
    else if (what === 15 && a < 16) this.#endIt(b)
    if (this.#connection?.isLeft) this.#connection = undefined
  }

  check(): void {
    const { bytesInFlight, received, isAttached } = this.#transport
    must(this.#ends.length <= 1, () => `the end was told ${this.#ends.length} times`)
    must(
      this.#budget.usedBytes === bytesInFlight,
      () => `${bytesInFlight} bytes held, ${this.#budget.usedBytes} counted`,
    )
    if (this.#isRefused) must(this.#ends[0]?.isProtocolError === true, () => 'what cannot be was accepted')
    else if (!this.#weEnded) must(this.#ends[0]?.isProtocolError !== true, () => `refused: ${this.#ends[0]?.message}`)
    if (this.#isOver) {
      must(bytesInFlight === 0 && !isAttached, () => 'something is left after the end')
      return
    }
    must(bytesInFlight === this.#written - this.#acknowledged, () => `${bytesInFlight} bytes are held`)
    must(received === this.#received, () => `${received} bytes counted, ${this.#received} came`)
    must(isAttached === (this.#connection !== undefined), () => 'it does not know whether it has a connection')
  }

  note(what: number, features: Features): void {
    const state = (this.#connection === undefined ? 0 : 1) | (this.#mayWrite ? 2 : 0) | (this.#isOver ? 4 : 0)
    features.addNext(100 + what, state | (this.#connection?.isFull ? 8 : 0))
    features.addSize(200, this.#transport.bytesInFlight)
    features.addSize(201, this.#connection?.queuedBytes ?? 0)
    features.addSize(202, this.#transport.resumes)
  }

  /** An honest end: what was written arrives whole, and nothing is left. */
  finish(features: Features): string {
    if (!this.#isOver) {
      this.#attach(this.#arrived)
      while (this.#connection?.queue.length) this.#leave()
      must(this.#arrived === this.#written, () => `${this.#arrived} of ${this.#written} bytes arrived`)
      this.#acknowledge(this.#written)
      must(this.#transport.bytesInFlight === 0, () => 'acknowledged bytes are held')
      must(this.#mayWrite, () => 'the writer was never told that there is room')
    }
    void this.#transport.close('the fuzzer is done')
    must(this.#ends.length === 1, () => 'the end was not told')
    must(this.#budget.usedBytes === 0, () => `${this.#budget.usedBytes} bytes are never given back`)
    must(this.#clock.pending === 0, () => `${this.#clock.pending} timers are left`)
    const end = this.#ends[0]?.message.replace(/\d+/g, 'N') ?? ''
    features.add(300, hashText(end) & 0xffff)
    return this.#isRefused ? 'refused' : this.#weEnded ? 'ended' : 'whole'
  }

  // --- steps ---

  #write(size: number, anyway: boolean): void {
    if (!this.#mayWrite && !anyway) return
    const bytes = writeBlocks.take(size) // as the send queue does
    bytes.set(patternAt(this.#written, size))
    if (!this.#isOver) this.#written += size
    this.#mayWrite = this.#transport.write(bytes)
    this.#sawGiven()
  }

  #leave(): void {
    const connection = this.#connection
    connection?.leave()
    if (connection !== undefined) this.#arrived = Math.max(this.#arrived, connection.arrived)
    this.#sawGiven()
  }

  #acknowledge(position: number): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#isRefused = position < this.#acknowledged || position > connection.given
    if (!this.#isRefused) {
      this.#acknowledged = position
      this.#arrived = Math.max(this.#arrived, position) // if it is not true, that is the other side's loss
    }
    this.#say(`${position}`, this.#isRefused)
  }

  #say(text: string, cannotBe = true): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#isRefused = cannotBe
    connection.receiver?.onText(text)
    this.#sawGiven()
  }

  #attach(position: number): void {
    if (this.#isOver) return
    const canBe = position >= this.#acknowledged && position <= this.#everGiven
    must(this.#transport.canResumeFrom(position) === canBe, () => `position ${position}: it disagrees`)
    this.#isRefused = !canBe
    const connection = new Connection(position)
    if (canBe) {
      this.#acknowledged = position
      // A side that states less than it has gets it again, and one that states more must have had it.
      this.#arrived = Math.max(this.#arrived, position)
      this.#connection = connection
    } else this.#connection = undefined
    void this.#transport.attach(connection, position)
    this.#sawGiven()
  }

  #receive(size: number): void {
    if (this.#connection === undefined) return
    this.#received += size
    this.#connection.receiver?.onBytes(patternAt(0, size))
  }

  #lose(clean: boolean): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#weEnded ||= clean
    connection.receiver?.onClose({ clean, message: 'the fuzzer cut it' })
    this.#connection = undefined
  }

  #endIt(how: number): void {
    this.#weEnded = true
    if (how & 1) void this.#transport.close('the fuzzer closes')
    else this.#transport.destroy('the fuzzer destroys')
    this.#connection = undefined
  }

  // --- helpers ---

  #sawGiven(): void {
    this.#everGiven = Math.max(this.#everGiven, this.#connection?.given ?? 0)
  }

  /** Near what can be, on either side of it. */
  #somePosition(a: number, b: number): number {
    const near = [this.#acknowledged, this.#arrived, this.#everGiven, this.#written][a & 3] ?? 0
    return Math.max(0, near + ([0, 0, 1, -1, 12, -12, 4_096, -60_000][b & 7] ?? 0))
  }
}
