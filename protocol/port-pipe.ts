/**
 * One end of a forwarded connection: between a local socket and, most of the time, a link to the other end. Bytes are
 * kept until the other end has them, so that after a lost link each arrives exactly once; and no more is read from the
 * local socket than the window, so that a slow reader there slows the writer here. Client and agent use the same code.
 */
import { PORT_MESSAGE, PORT_WINDOW_BYTES, PortControl } from './port.ts'

/** The local socket, as the pipe needs it. */
export interface LocalEnd {
  pause(): void
  resume(): void
  /** `taken` is called when the socket has room again. */
  write(bytes: Uint8Array, taken: () => void): void
  /** Ends our half; `taken` is called when everything before is written. */
  end(taken: () => void): void
  reset(): void
}

export interface Link {
  send(message: Uint8Array): void
  /** Delivers what was sent, and says goodbye. */
  close(code: number, reason: string): void
}

/** WebSocket close codes. */
const DONE = 1000
const PROTOCOL_BROKEN = 1002

/** An acknowledgement is sent when this much was passed on since the last. */
const ACK_BYTES = PORT_WINDOW_BYTES / 4
/** Pieces that are kept at most, however small. */
const MAX_KEPT_PIECES = 4_096

export class PortPipe {
  readonly #local: LocalEnd
  readonly #onDone: () => void
  #link: Link | undefined
  /** The other end said where it is: we may send. */
  #isOpen = false
  #isDone = false
  #isBroken = false

  /** What the other end may not have, from #keptFrom on. */
  #kept: Uint8Array[] = []
  #keptFrom = 0
  /** In #kept: the first piece that was not sent on this link. */
  #next = 0
  /** Positions of our direction: sent on this link, passed on by the other end, read from the socket. */
  #sent = 0
  #acked = 0
  #read = 0
  #hasEnded = false

  /** Positions of the other direction: arrived, passed on to the socket, and said to be. */
  #arrived = 0
  #taken = 0
  #told = 0
  #peerEnded = false

  /** @param onDone called once: the connection is over, and everything is passed on unless it was reset */
  constructor(local: LocalEnd, onDone: () => void) {
    this.#local = local
    this.#onDone = onDone
  }

  get isDone(): boolean {
    return this.#isDone
  }

  /** Both halves have ended: whatever the other end still says is a receipt. */
  get isWhole(): boolean {
    return this.#hasEnded && this.#peerEnded
  }

  /** A link is there; one before it counts no more. */
  connect(link: Link): void {
    this.disconnect()
    if (this.#isBroken) {
      this.#control(link, { type: 'reset' })
      link.close(DONE, 'reset')
      this.#finish()
      return
    }
    this.#link = link
    this.#told = this.#taken
    this.#control(link, { type: 'at', bytes: this.#arrived })
  }

  disconnect(): void {
    this.#link = undefined
    this.#isOpen = false
  }

  /** From the local socket. */
  onData(bytes: Uint8Array): void {
    if (this.#isDone || this.#isBroken) return
    this.#kept.push(bytes)
    this.#read += bytes.length
    this.#pump()
    this.#throttle()
  }

  onEnd(): void {
    if (this.#hasEnded || this.#isDone) return
    this.#hasEnded = true
    this.#pump()
  }

  /** The local socket broke: the other end is told, on the next link if there is none now. */
  onFailed(): void {
    if (this.#isDone) return
    this.#isBroken = true
    this.#kept = []
    if (this.#link !== undefined) this.connect(this.#link)
  }

  /** Gives the connection up: nobody will take it up again. What had come to its end on both sides is whole. */
  abandon(): void {
    if (this.#isDone) return
    if (this.isWhole) {
      this.#finish()
      return
    }
    this.#local.reset()
    this.onFailed()
    this.#finish()
  }

  /** A message of the present link. A peer that breaks the rules loses the connection. */
  receive(message: Uint8Array): void {
    if (this.#isDone) return
    try {
      this.#handle(message)
    } catch (error) {
      this.#link?.close(PROTOCOL_BROKEN, error instanceof Error ? error.message.slice(0, 120) : 'protocol')
      this.disconnect()
      this.#local.reset()
      this.#finish()
    }
  }

  #handle(message: Uint8Array): void {
    const body = message.subarray(1)
    switch (message[0]) {
      case PORT_MESSAGE.data:
        this.#onBytes(body)
        break
      case PORT_MESSAGE.end:
        this.#onPeerEnd()
        break
      case PORT_MESSAGE.control:
        this.#onControl(PortControl.parse(JSON.parse(new TextDecoder().decode(body))))
        break
      default:
        throw new Error(`unknown message ${message[0]}`)
    }
  }

  #onBytes(bytes: Uint8Array): void {
    if (this.#peerEnded) throw new Error('bytes after the end')
    this.#arrived += bytes.length
    if (this.#arrived - this.#taken > PORT_WINDOW_BYTES) throw new Error('more bytes than the window allows')
    this.#local.write(bytes, () => this.#onTaken(bytes.length))
  }

  #onPeerEnd(): void {
    if (this.#peerEnded) throw new Error('a second end')
    this.#peerEnded = true
    this.#arrived += 1
    this.#local.end(() => this.#onTaken(1))
  }

  #onTaken(bytes: number): void {
    this.#taken += bytes
    const isAll = this.#peerEnded && this.#taken === this.#arrived
    if (this.#link === undefined || (!isAll && this.#taken - this.#told < ACK_BYTES)) return
    this.#told = this.#taken
    this.#control(this.#link, { type: 'ack', bytes: this.#taken })
    this.#finishIfAllIsSaid()
  }

  #onControl(control: PortControl): void {
    switch (control.type) {
      case 'at':
        this.#onAt(control.bytes)
        break
      case 'ack':
        this.#onAck(control.bytes)
        break
      case 'reset':
        this.#link?.close(DONE, 'reset')
        this.disconnect()
        this.#local.reset()
        this.#finish()
        break
      default:
        control satisfies never
    }
  }

  #onAt(bytes: number): void {
    if (this.#isOpen) throw new Error('a second "at"')
    if (bytes < this.#keptFrom || bytes > this.#length) throw new Error(`"at" ${bytes} is not held`)
    this.#forgetBefore(bytes)
    this.#next = 0
    this.#sent = bytes
    this.#isOpen = true
    // What was passed on while there was no link, the end above all, is said now.
    if (this.#taken > 0 && this.#link !== undefined) this.#control(this.#link, { type: 'ack', bytes: this.#taken })
    this.#pump()
    this.#finishIfAllIsSaid()
  }

  #onAck(bytes: number): void {
    if (!this.#isOpen || bytes < this.#acked || bytes > this.#sent) throw new Error(`"ack" ${bytes} of ${this.#sent}`)
    this.#acked = bytes
    this.#forgetBefore(bytes)
    this.#pump()
    this.#throttle()
    this.#finishIfAllIsSaid()
  }

  /** Where our direction ends as far as is known, the end included. */
  get #length(): number {
    return this.#read + (this.#hasEnded ? 1 : 0)
  }

  #pump(): void {
    const link = this.#link
    if (link === undefined || !this.#isOpen) return
    for (; this.#next < this.#kept.length; this.#next++) {
      const bytes = this.#kept[this.#next] as Uint8Array
      if (this.#sent - this.#acked + bytes.length > PORT_WINDOW_BYTES) return // what was read last may reach over its end
      link.send(framed(PORT_MESSAGE.data, bytes))
      this.#sent += bytes.length
    }
    if (!this.#hasEnded || this.#sent > this.#read) return
    link.send(Uint8Array.of(PORT_MESSAGE.end))
    this.#sent += 1
  }

  #throttle(): void {
    if (this.#hasEnded || this.#isBroken) return
    if (this.#read - this.#acked >= PORT_WINDOW_BYTES || this.#kept.length >= MAX_KEPT_PIECES) this.#local.pause()
    else this.#local.resume()
  }

  #forgetBefore(position: number): void {
    for (let first = this.#kept[0]; first !== undefined && this.#keptFrom < position; first = this.#kept[0]) {
      const known = Math.min(first.length, position - this.#keptFrom)
      if (known === first.length) {
        this.#kept.shift()
        this.#next = Math.max(0, this.#next - 1)
      } else this.#kept[0] = first.subarray(known)
      this.#keptFrom += known
    }
  }

  #finishIfAllIsSaid(): void {
    const isSent = this.#hasEnded && this.#acked === this.#length
    const isTaken = this.#peerEnded && this.#told === this.#arrived && this.#taken === this.#arrived
    if (!isSent || !isTaken || !this.#isOpen) return
    this.#link?.close(DONE, 'done')
    this.disconnect()
    this.#finish()
  }

  #finish(): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#kept = []
    this.#onDone()
  }

  #control(link: Link, control: PortControl): void {
    link.send(framed(PORT_MESSAGE.control, new TextEncoder().encode(JSON.stringify(control))))
  }
}

function framed(kind: number, bytes: Uint8Array): Uint8Array {
  const message = new Uint8Array(bytes.length + 1)
  message[0] = kind
  message.set(bytes, 1)
  return message
}
