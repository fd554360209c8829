/**
 * Standard input on its way to a process. Bytes are kept until the agent has accepted them, so that after a lost
 * connection they are sent again from where the agent is: each reaches the process exactly once.
 *
 * Offsets here are the agent's. A process that we did not start may have had input before: ours begins behind it.
 */
import type { Readable } from 'node:stream'
import { STDIN_WINDOW_BYTES } from '../../protocol/process.ts'

/** Largest message; small enough that a signal behind it is not late. */
const MESSAGE_BYTES = 64 * 1024

export interface StdinSink {
  /** False when the connection is gone; the bytes stay here. */
  send(bytes: Buffer): boolean
  end(): void
}

export class StdinBuffer {
  readonly #source: Readable
  /** From `#start` on: what the agent may not have accepted yet. At most a window and one chunk of the source. */
  #chunks: Buffer[] = []
  #start = 0
  #end = 0
  #hasBegun = false
  /** What the process's pipe has taken, as the agent last said. */
  #written = 0
  #sent = 0
  #sourceEnded = false
  #toldEnd = false
  #sink: StdinSink | undefined

  constructor(source: Readable) {
    this.#source = source
    source.on('readable', this.#pump)
    source.on('end', this.#onEnd)
    source.on('error', this.#onEnd)
    source.on('close', this.#onEnd)
  }

  /** A connection is there; the agent has accepted this much. @throws RangeError when that cannot be */
  connect(sink: StdinSink, accepted: number): void {
    if (!this.#hasBegun) this.#begin(accepted)
    this.#forgetBefore(accepted)
    this.#sent = this.#start
    this.#toldEnd = false
    this.#sink = sink
    this.#pump()
  }

  disconnect(): void {
    this.#sink = undefined
  }

  /** The agent's acknowledgement. @throws RangeError when it is of bytes that were never sent */
  acknowledge(written: number): void {
    this.#written = Math.max(this.#written, written)
    if (this.#hasBegun) this.#forgetBefore(written)
    this.#pump()
  }

  /** Leaves the source alone from now on. */
  close(): void {
    this.#sink = undefined
    this.#source.off('readable', this.#pump)
    this.#source.off('end', this.#onEnd)
    this.#source.off('close', this.#onEnd)
    this.#source.pause() // its 'error' stays handled: nobody needs the source any more
  }

  readonly #onEnd = () => {
    this.#sourceEnded = true
    this.#pump()
  }

  /** Reads while the window has room, sends what is not sent, and tells the end after the last byte. */
  readonly #pump = () => {
    this.#fill()
    const limit = this.#written + STDIN_WINDOW_BYTES
    while (this.#sink !== undefined && this.#sent < this.#end && this.#sent < limit) {
      const bytes = this.#slice(this.#sent, limit - this.#sent)
      if (!this.#sink.send(bytes)) return
      this.#sent += bytes.length
    }
    if (this.#sink !== undefined && this.#sourceEnded && this.#sent === this.#end && !this.#toldEnd) {
      this.#toldEnd = true
      this.#sink.end()
    }
  }

  #fill(): void {
    while (this.#end - this.#start < STDIN_WINDOW_BYTES) {
      const chunk: unknown = this.#source.read()
      if (chunk === null) return
      const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk))
      this.#chunks.push(bytes)
      this.#end += bytes.length
    }
  }

  /** Nothing was sent yet: what was read so far gets its offsets. */
  #begin(accepted: number): void {
    this.#hasBegun = true
    this.#start += accepted
    this.#end += accepted
  }

  #slice(offset: number, max: number): Buffer {
    let at = this.#start
    for (const chunk of this.#chunks) {
      const from = offset - at
      if (from < chunk.length) return chunk.subarray(from, from + Math.min(max, MESSAGE_BYTES))
      at += chunk.length
    }
    throw new RangeError(`byte ${offset} of standard input is not held`)
  }

  #forgetBefore(offset: number): void {
    if (offset > this.#end) throw new RangeError(`${offset} bytes of input accepted, only ${this.#end} were read`)
    for (let first = this.#chunks[0]; first !== undefined && this.#start < offset; first = this.#chunks[0]) {
      const forgotten = Math.min(first.length, offset - this.#start)
      if (forgotten === first.length) this.#chunks.shift()
      else this.#chunks[0] = first.subarray(forgotten)
      this.#start += forgotten
    }
    this.#sent = Math.max(this.#sent, this.#start)
  }
}
