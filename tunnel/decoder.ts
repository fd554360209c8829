// Bytes -> frames, for any way in which the bytes are cut. The decoder holds at most one header (12 bytes): payload is
// passed on as it comes, as slices of the chunk it came in, so a frame that claims 4 GiB costs nothing. Whether a length
// is allowed is the sink's business; it throws from onFrame to end the session.

import { protocolError } from './errors.ts'
import { type FrameHeader, FrameType, HEADER_BYTES, PROTOCOL_VERSION } from './frame.ts'

/** Per frame: one onFrame, then any number of onPayload (data frames), then one onFrameEnd. */
export interface FrameSink {
  onFrame(header: FrameHeader): void
  onPayload(bytes: Buffer): void
  onFrameEnd(): void
}

export class FrameDecoder {
  readonly #sink: FrameSink
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerBytes = 0
  #payloadLeft = 0
  #stopped = false

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Decodes the next bytes; throws a TunnelError when they are not yamux. State advances before each call to the sink. */
  decode(chunk: Buffer): void {
    let offset = 0
    while (offset < chunk.length && !this.#stopped) {
      offset = this.#payloadLeft > 0 ? this.#takePayload(chunk, offset) : this.#takeHeader(chunk, offset)
    }
  }

  /** Ignores everything from here on, also the rest of the chunk that is being decoded. */
  stop(): void {
    this.#stopped = true
  }

  #takePayload(chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + this.#payloadLeft)
    this.#payloadLeft -= end - offset
    const isLast = this.#payloadLeft === 0
    this.#sink.onPayload(chunk.subarray(offset, end))
    if (isLast && !this.#stopped) this.#sink.onFrameEnd()
    return end
  }

  #takeHeader(chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + HEADER_BYTES - this.#headerBytes)
    this.#headerBytes += chunk.copy(this.#header, this.#headerBytes, offset, end)
    if (this.#headerBytes < HEADER_BYTES) return end

    this.#headerBytes = 0
    const header = parseHeader(this.#header)
    const hasPayload = header.type === FrameType.data && header.length > 0
    this.#payloadLeft = hasPayload ? header.length : 0
    this.#sink.onFrame(header)
    if (!hasPayload && !this.#stopped) this.#sink.onFrameEnd()
    return end
  }
}

function parseHeader(bytes: Buffer): FrameHeader {
  const version = bytes[0]
  if (version !== PROTOCOL_VERSION) throw protocolError(`frame has yamux version ${version}, only 0 is known`)
  return {
    type: frameType(bytes[1]),
    flags: bytes.readUInt16BE(2),
    streamId: bytes.readUInt32BE(4),
    length: bytes.readUInt32BE(8),
  }
}

function frameType(value: number | undefined): FrameType {
  switch (value) {
    case FrameType.data:
    case FrameType.windowUpdate:
    case FrameType.ping:
    case FrameType.goAway:
      return value
    default:
      throw protocolError(`frame has unknown type ${value}, 0 to 3 are known`)
  }
}
