// The yamux frame header, in the words of the specification (hashicorp/yamux, spec.md). Everything is big endian:
//
//   | version 8 bits | type 8 bits | flags 16 bits | stream id 32 bits | length 32 bits |
//
// `length` is the payload's size on data frames, the credit on window updates, an opaque value on pings and the error
// code on go-away. Only data frames have a payload.

export const PROTOCOL_VERSION = 0
export const HEADER_BYTES = 12
/** Of the data frames that we send. */
export const MAX_FRAME_PAYLOAD = 16 * 1024
export const MAX_UINT32 = 0xffff_ffff

export const FrameType = { data: 0, windowUpdate: 1, ping: 2, goAway: 3 } as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

export const Flag = {
  /** Starts a stream; on a ping: a question. */
  syn: 1,
  /** Accepts a stream; on a ping: the answer. */
  ack: 2,
  /** The sender will send no more data (half-close). */
  fin: 4,
  /** The stream is over at once, both ways. */
  rst: 8,
} as const

export const GoAwayCode = { normal: 0, protocolError: 1, internalError: 2 } as const

/** Both sides of a yamux stream may assume this window until an update says more (spec, "Flow Control"). */
export const SPEC_INITIAL_WINDOW_BYTES = 256 * 1024

export interface FrameHeader {
  readonly type: FrameType
  readonly flags: number
  readonly streamId: number
  readonly length: number
}

export function encodeHeader(header: FrameHeader): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES)
  bytes[0] = PROTOCOL_VERSION
  bytes[1] = header.type
  bytes.writeUInt16BE(header.flags, 2)
  bytes.writeUInt32BE(header.streamId, 4)
  bytes.writeUInt32BE(header.length, 8)
  return bytes
}
