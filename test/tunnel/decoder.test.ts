import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameDecoder } from '../../tunnel/decoder.ts'
import { encodeHeader, type FrameHeader, FrameType, HEADER_BYTES } from '../../tunnel/frame.ts'

const uint32 = fc.nat({ max: 0xffff_ffff })
const flags = fc.nat({ max: 0xffff })
const dataFrame = fc
  .record({ flags, streamId: uint32, payload: fc.uint8Array({ maxLength: 400 }) })
  .map(({ payload, ...rest }) => ({
    type: FrameType.data,
    length: payload.length,
    payload: Buffer.from(payload),
    ...rest,
  }))
const otherFrame = fc
  .record({
    type: fc.constantFrom(FrameType.windowUpdate, FrameType.ping, FrameType.goAway),
    flags,
    streamId: uint32,
    length: uint32,
  })
  .map((frame) => ({ ...frame, payload: Buffer.alloc(0) }))

interface Decoded extends FrameHeader {
  payload: Buffer
}

function decodeAll(chunks: Iterable<Buffer>): { frames: Decoded[]; ended: number } {
  const frames: Decoded[] = []
  let ended = 0
  const decoder = new FrameDecoder({
    onFrame: (header) => void frames.push({ ...header, payload: Buffer.alloc(0) }),
    onPayload(bytes) {
      const frame = frames.at(-1)
      if (frame !== undefined) frame.payload = Buffer.concat([frame.payload, bytes])
    },
    onFrameEnd() {
      ended += 1
    },
  })
  for (const chunk of chunks) decoder.decode(chunk)
  return { frames, ended }
}

describe('the frame codec', () => {
  it('decodes what was encoded, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(dataFrame, otherFrame), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.flatMap((frame) => [encodeHeader(frame), frame.payload]))
          const { frames: decoded, ended } = decodeAll(slices(bytes, cuts))
          expect(decoded).toEqual(frames)
          expect(ended).toBe(frames.length)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('writes the header as the specification lays it out', () => {
    const header = encodeHeader({
      type: FrameType.windowUpdate,
      flags: 0x0102,
      streamId: 0x03040506,
      length: 0x0708090a,
    })
    expect(header.toString('hex')).toBe('00010102030405060708090a')
  })

  it('passes payload on as it comes and holds none of it', () => {
    const seen: number[] = []
    const decoder = new FrameDecoder({
      onFrame() {},
      onPayload: (bytes) => void seen.push(bytes.length),
      onFrameEnd() {},
    })
    decoder.decode(encodeHeader({ type: FrameType.data, flags: 0, streamId: 1, length: 0xffff_ffff }))
    decoder.decode(Buffer.alloc(10))
    decoder.decode(Buffer.alloc(7))
    expect(seen).toEqual([10, 7])
  })

  it('refuses other versions and unknown types, whatever else the bytes say', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: HEADER_BYTES, maxLength: HEADER_BYTES }), (bytes) => {
        const isValid = bytes[0] === 0 && (bytes[1] ?? 0) <= 3
        const decode = () => decodeAll([Buffer.from(bytes)])
        if (isValid) expect(decode).not.toThrow()
        else expect(decode).toThrow(expect.objectContaining({ code: 'TUNNEL_PROTOCOL_ERROR' }))
      }),
    )
  })

  it('hears nothing more after stop(), not even the rest of the chunk', () => {
    let frames = 0
    const decoder: FrameDecoder = new FrameDecoder({
      onFrame() {
        frames += 1
        decoder.stop()
      },
      onPayload() {},
      onFrameEnd() {},
    })
    const ping = encodeHeader({ type: FrameType.ping, flags: 1, streamId: 0, length: 1 })
    decoder.decode(Buffer.concat([ping, ping]))
    decoder.decode(ping)
    expect(frames).toBe(1)
  })
})

function* slices(bytes: Buffer, cuts: number[]): Generator<Buffer> {
  for (let at = 0, index = 0; at < bytes.length; index += 1) {
    const end = at + (cuts[index % cuts.length] ?? 1)
    yield bytes.subarray(at, end)
    at = end
  }
}
