// Connections that exist in memory only: two carriers with latency, bandwidth and a fault. As with a WebSocket, messages
// arrive whole and in order or not at all; what is under way when a connection breaks is lost, however many messages.

import type { Clock } from '../../../tunnel/clock.ts'
import type { Carrier, CarrierReceiver, TransportEnd } from '../../../tunnel/transport.ts'
import type { Random } from './random.ts'
import type { ConnectionFault, End, Schedule } from './schedule.ts'

const FULL_BYTES = 128 * 1024
const DRAINED_BYTES = 64 * 1024
const SLOWER = 100

type Message = Buffer | string

export class VirtualConnection {
  readonly #clock: Clock
  readonly #fault: ConnectionFault
  readonly #ends: Record<End, VirtualCarrier>
  #isBroken = false

  constructor(clock: Clock, random: Random, { latencyMs, bytesPerMs }: Schedule, fault: ConnectionFault) {
    this.#clock = clock
    this.#fault = fault
    const end = (name: End, other: End) =>
      new VirtualCarrier(clock, { latencyMs, bytesPerMs, deliversAfterLeaving: random.chance(0.5) }, (message) =>
        this.#arrive(name, other, message),
      )
    this.#ends = { dialler: end('dialler', 'acceptor'), acceptor: end('acceptor', 'dialler') }
    this.#ends.dialler.peer = this.#ends.acceptor
    this.#ends.acceptor.peer = this.#ends.dialler
    if (fault.kind === 'silence') clock.after(fault.afterMs, () => this.#break())
    if (fault.kind === 'slow') {
      clock.after(fault.afterMs, () => this.#speed(1 / SLOWER))
      clock.after(fault.afterMs + fault.forMs, () => this.#speed(1))
    }
  }

  carrier(end: End): VirtualCarrier {
    return this.#ends[end]
  }

  /** Both ends learn that it is over. */
  cut(): void {
    this.#break()
    for (const end of Object.values(this.#ends)) end.end({ clean: false, message: 'cut' })
  }

  #arrive(from: End, to: End, message: Message): void {
    const fault = this.#fault
    if (
      !this.#isBroken &&
      fault.kind === 'cut' &&
      fault.from === from &&
      this.#ends[from].passedBytes > fault.afterBytes
    ) {
      this.#break()
      for (const end of ['dialler', 'acceptor'] as const) {
        const ms = fault.noticeMs[end]
        if (ms !== 'never') this.#clock.after(ms, () => this.#ends[end].end({ clean: false, message: 'cut' }))
      }
    }
    if (!this.#isBroken) this.#ends[to].deliver(message)
  }

  #break(): void {
    this.#isBroken = true
    for (const end of Object.values(this.#ends)) end.isStuck = true
  }

  #speed(factor: number): void {
    for (const end of Object.values(this.#ends)) end.speed = factor
  }
}

interface Profile {
  readonly latencyMs: number
  readonly bytesPerMs: number
  /** Whether what was sent arrives although the sender has left. */
  readonly deliversAfterLeaving: boolean
}

export class VirtualCarrier implements Carrier {
  peer: VirtualCarrier | undefined
  passedBytes = 0
  /** What is written goes nowhere, and stays in the send queue. */
  isStuck = false
  speed = 1
  readonly #clock: Clock
  readonly #profile: Profile
  readonly #arrive: (message: Message) => void
  #receiver: CarrierReceiver | undefined
  readonly #early: Message[] = []
  #end: TransportEnd | undefined
  #hasLeft = false
  #queued = 0
  #isFull = false
  #busyUntil = 0

  constructor(clock: Clock, profile: Profile, arrive: (message: Message) => void) {
    this.#clock = clock
    this.#profile = profile
    this.#arrive = arrive
  }

  get queuedBytes(): number {
    return this.#queued
  }

  get isInUse(): boolean {
    return this.#receiver !== undefined
  }

  start(receiver: CarrierReceiver): void {
    this.#receiver = receiver
    for (const message of this.#early.splice(0)) this.deliver(message)
    const end = this.#end
    if (end !== undefined) queueMicrotask(() => this.#report(end))
  }

  write(bytes: Buffer): boolean {
    this.#send(bytes, bytes.length + 4)
    this.#isFull = this.#queued > FULL_BYTES
    return !this.#isFull
  }

  writeText(text: string): void {
    this.#send(text, text.length + 4)
  }

  async close(reason: string): Promise<void> {
    this.#leave({ clean: true, message: reason })
  }

  detach(): void {
    if (!this.#hasLeft) this.#leave({ clean: false, message: 'the other side left' })
  }

  // --- what the connection calls ---

  deliver(message: Message): void {
    if (this.#receiver === undefined) this.#early.push(message)
    else if (typeof message === 'string') this.#receiver.onText(message)
    else this.#receiver.onBytes(message)
  }

  end(end: TransportEnd): void {
    this.#end ??= end
    this.#report(this.#end)
  }

  // --- helpers ---

  #send(message: Message, size: number): void {
    if (this.#hasLeft || this.#end !== undefined) return
    this.#queued += size
    if (this.isStuck) return
    const { bytesPerMs, latencyMs } = this.#profile
    this.#busyUntil = Math.max(this.#busyUntil, this.#clock.now()) + size / (bytesPerMs * this.speed)
    let sent = message
    this.#clock.after(this.#busyUntil - this.#clock.now(), () => {
      // Until now the connection reads from the writer's memory, as the operating system does; then it has its own.
      sent = typeof message === 'string' ? message : Buffer.from(message)
      this.#sent(size)
    })
    this.#clock.after(this.#busyUntil + latencyMs - this.#clock.now(), () => {
      this.passedBytes += size
      if (!this.#hasLeft || this.#profile.deliversAfterLeaving) this.#arrive(sent)
    })
  }

  #sent(size: number): void {
    if (this.isStuck) return
    this.#queued -= size
    if (!this.#isFull || this.#queued > DRAINED_BYTES) return
    this.#isFull = false
    this.#receiver?.onDrain()
  }

  #leave(end: TransportEnd): void {
    this.#hasLeft = true
    this.#receiver = undefined
    this.#early.length = 0
    const arrivesAt = Math.max(this.#busyUntil, this.#clock.now()) + this.#profile.latencyMs
    if (!this.isStuck) this.#clock.after(arrivesAt - this.#clock.now(), () => this.#unlessStuck(end))
  }

  #unlessStuck(end: TransportEnd): void {
    if (!this.isStuck) this.peer?.end(end)
  }

  #report(end: TransportEnd): void {
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.onClose(end)
  }
}
