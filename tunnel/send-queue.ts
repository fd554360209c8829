// Decides which frame is sent next. Control frames and window updates go first, in order; then the streams that have data
// take turns (turns.ts): who sends little goes before who sends much. Longer frames for a stream that is alone were tried:
// at 64 KiB they cost as much CPU per byte as at 16 KiB.
//
// Nothing piles up here: data stays in its stream until it is framed, window updates are one per stream, and the control
// frames that a peer can provoke (ping answers, resets) are counted.

import { WRITE_BYTES, writeBlocks } from './block-pool.ts'
import { protocolError } from './errors.ts'
import { encodeHeader, Flag, type FrameHeader, FrameType, HEADER_BYTES, MAX_FRAME_PAYLOAD } from './frame.ts'
import type { TunnelStream } from './stream.ts'
import { Turns } from './turns.ts'

/** Beyond this the peer asks faster than it reads our answers (Go's HTTP/2 server has the same limit). */
export const MAX_CONTROL_FRAMES = 10_000

export interface OutgoingBatch {
  readonly bytes: Buffer
  /** To be called once the bytes are with the transport. */
  readonly done: readonly (() => void)[]
}

export class SendQueue {
  #control: Buffer[] = []
  readonly #credit = new Set<TunnelStream>()
  readonly #turns = new Turns<TunnelStream>()

  /** Queues a frame without payload; throws a protocol error when MAX_CONTROL_FRAMES wait. */
  addControl(frame: FrameHeader): void {
    if (this.#control.length >= MAX_CONTROL_FRAMES) {
      throw protocolError(`${MAX_CONTROL_FRAMES} control frames wait to be sent: the other side does not read`)
    }
    this.#control.push(encodeHeader(frame))
  }

  addCredit(stream: TunnelStream): void {
    this.#credit.add(stream)
  }

  addStream(stream: TunnelStream): void {
    this.#turns.add(stream.turn)
  }

  /** The stream is over; among those who wait it has nothing to send any more, and is dropped when its turn comes. */
  remove(stream: TunnelStream): void {
    this.#credit.delete(stream)
  }

  /** The next bytes to send, undefined if there are none. */
  nextBatch(): OutgoingBatch | undefined {
    const parts = this.#takeControl()
    const done: (() => void)[] = []
    let size = parts.reduce((sum, part) => sum + part.length, 0)
    while (size === 0 || size + HEADER_BYTES + MAX_FRAME_PAYLOAD <= WRITE_BYTES) {
      const turn = this.#turns.next()
      if (turn === undefined) break
      const { stream } = turn
      const frame = stream.nextFrame(MAX_FRAME_PAYLOAD)
      if (frame === undefined) continue
      this.#turns.sent(turn, HEADER_BYTES + frame.length)
      if (frame.done !== undefined) done.push(frame.done)
      else this.#turns.add(turn)
      const flags = frame.fin ? Flag.fin : 0
      const header = encodeHeader({ type: FrameType.data, flags, streamId: stream.id, length: frame.length })
      parts.push(header, ...frame.payload)
      size += header.length + frame.length
    }
    // The copy also frees the writer to reuse its buffer as soon as `done` was called.
    return size === 0 ? undefined : { bytes: joined(parts, size), done }
  }

  #takeControl(): Buffer[] {
    const parts = this.#control
    this.#control = []
    for (const stream of this.#credit) {
      const length = stream.receiveWindow.takeCredit()
      if (length === 0) continue
      parts.push(encodeHeader({ type: FrameType.windowUpdate, flags: 0, streamId: stream.id, length }))
    }
    this.#credit.clear()
    return parts
  }
}

function joined(parts: readonly Buffer[], size: number): Buffer {
  const bytes = writeBlocks.take(size)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
