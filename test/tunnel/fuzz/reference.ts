// A second reading of yamux, for comparison: the frame layout taken from the specification, one byte at a time, sharing
// nothing with tunnel/decoder.ts.

export interface ReferenceFrame {
  readonly version: number
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly length: number
}

export interface ReferenceSink {
  frame(frame: ReferenceFrame): void
  payload(bytes: Buffer): void
  /** The frame and its payload are in. */
  end(): void
}

export const DATA = 0
export const WINDOW = 1
export const PING = 2
export const GO_AWAY = 3
export const SYN = 1
export const ACK = 2
export const FIN = 4
export const RST = 8
export const UINT32 = 0xffff_ffff

export class ReferenceParser {
  readonly #sink: ReferenceSink
  #header: number[] = []
  #payloadLeft = 0

  constructor(sink: ReferenceSink) {
    this.#sink = sink
  }

  /** True between frames: the next byte begins a header. */
  get isBetweenFrames(): boolean {
    return this.#header.length === 0 && this.#payloadLeft === 0
  }

  /** Bytes until the header, or the payload after it, is complete. */
  get bytesToBoundary(): number {
    return this.#payloadLeft > 0 ? this.#payloadLeft : 12 - this.#header.length
  }

  feed(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at = this.#payloadLeft > 0 ? this.#payload(bytes, at) : this.#byte(bytes, at)
  }

  #payload(bytes: Buffer, at: number): number {
    const piece = bytes.subarray(at, at + this.#payloadLeft)
    this.#payloadLeft -= piece.length
    this.#sink.payload(piece)
    if (this.#payloadLeft === 0) this.#sink.end()
    return at + piece.length
  }

  #byte(bytes: Buffer, at: number): number {
    this.#header.push(bytes[at] ?? 0)
    if (this.#header.length < 12) return at + 1
    const [version = 0, type = 0, f1 = 0, f0 = 0, i3 = 0, i2 = 0, i1 = 0, i0 = 0, l3 = 0, l2 = 0, l1 = 0, l0 = 0] =
      this.#header
    this.#header = []
    const frame = {
      version,
      type,
      flags: f1 * 256 + f0,
      id: ((i3 * 256 + i2) * 256 + i1) * 256 + i0,
      length: ((l3 * 256 + l2) * 256 + l1) * 256 + l0,
    }
    this.#payloadLeft = version === 0 && type === DATA ? frame.length : 0
    this.#sink.frame(frame)
    if (this.#payloadLeft === 0) this.#sink.end()
    return at + 1
  }
}

export function writeFrame(frame: Partial<ReferenceFrame>, payload: Buffer = Buffer.alloc(0)): Buffer {
  const { version = 0, type = DATA, flags = 0, id = 1, length = payload.length } = frame
  const bytes = Buffer.allocUnsafe(12 + payload.length)
  bytes.writeUInt8(version & 0xff, 0)
  bytes.writeUInt8(type & 0xff, 1)
  bytes.writeUInt16BE(flags & 0xffff, 2)
  bytes.writeUInt32BE(id >>> 0, 4)
  bytes.writeUInt32BE(length >>> 0, 8)
  bytes.set(payload, 12)
  return bytes
}
