// The frame decoder alone. The input is one byte that says when the sink objects, one for the way it objects, two that
// seed the cuts, and then what is decoded. Whatever the cuts, the events must be those that the reference parser sees.

import { FrameDecoder } from '../../../tunnel/decoder.ts'
import { TunnelError } from '../../../tunnel/errors.ts'
import { type Features, hashText } from './features.ts'
import { Random } from './random.ts'
import { ReferenceParser, writeFrame } from './reference.ts'
import { Finding, must, type Target } from './target.ts'

const HEADER = 4
/** Longer inputs are fed byte by byte only now and then. */
const BYTEWISE_UP_TO = 48

type Objection = 'none' | 'stop' | 'throw'
/** Numbers: per frame -1 type flags id length, then -2 and payload length and hash when there was some, then -3 at its end. */
type Trace = number[]

interface Settings {
  readonly objection: Objection
  /** The event at which the sink objects. */
  readonly at: number
}

export const decoderTarget: Target = {
  name: 'decoder',
  headerBytes: HEADER,
  unitBytes: 1,
  maxBytes: 1024,
  generate(random) {
    const settings = random.bytes(HEADER)
    if (!random.oneIn(4)) settings[1] = 0
    return Buffer.concat([settings, ...Array.from({ length: 1 + random.below(6) }, () => anyFrame(random))])
  },
  piece: anyFrame,
  execute,
}

function execute(input: Buffer, features: Features): string {
  const bytes = input.subarray(HEADER)
  const settings = { objection: objectionOf(input[1] ?? 0), at: 1 + ((input[0] ?? 0) & 31) }
  const expected = referenceTrace(bytes, settings)
  compare('in one piece', expected, trace([bytes], settings))
  const random = new Random((input[2] ?? 0) * 256 + (input[3] ?? 0))
  compare('cut at random', expected, trace(cutAtRandom(bytes, random), settings))
  if (bytes.length <= BYTEWISE_UP_TO || (input[2] ?? 0) < 32)
    compare('byte by byte', expected, trace(cutEvery(bytes, 1), settings))
  return describe(expected, features)
}

function anyFrame(random: Random): Buffer {
  const type = random.oneIn(12) ? random.below(256) : random.below(4)
  const flags = random.oneIn(8) ? random.next() & 0xffff : random.below(16)
  const id = random.oneIn(6) ? random.next() : random.below(5)
  const payload = type === 0 ? random.bytes(random.oneIn(3) ? random.below(80) : random.below(8)) : Buffer.alloc(0)
  const length = type === 0 && !random.oneIn(8) ? payload.length : random.oneIn(2) ? random.below(64) : random.next()
  return writeFrame({ version: random.oneIn(30) ? random.below(256) : 0, type, flags, id, length }, payload)
}

const objectionOf = (byte: number): Objection => (byte % 4 === 1 ? 'stop' : byte % 4 === 2 ? 'throw' : 'none')

class Objected extends Error {}

/** Counts events and objects in time; the trace holds what was seen until then. */
class Recorder {
  readonly trace: Trace = []
  readonly #settings: Settings
  readonly #stop: () => void
  #events = 0
  #payloadLength = 0
  #payloadHash = 0
  isOver = false

  constructor(settings: Settings, stop: () => void) {
    this.#settings = settings
    this.#stop = stop
  }

  frame(type: number, flags: number, id: number, length: number): void {
    if (this.isOver) throw new Finding('a frame was delivered after stop()')
    this.trace.push(-1, type, flags, id, length)
    this.#event()
  }

  payload(bytes: Buffer): void {
    if (this.isOver) throw new Finding('payload was delivered after stop()')
    if (bytes.length === 0) throw new Finding('empty payload was delivered')
    if (this.#payloadLength === 0) this.#event()
    if (this.isOver) return
    let hash = this.#payloadHash
    for (let at = 0; at < bytes.length; at += 1) hash = (Math.imul(hash, 31) + (bytes[at] ?? 0)) | 0
    this.#payloadHash = hash
    this.#payloadLength += bytes.length
  }

  end(): void {
    if (this.isOver) throw new Finding('an end was delivered after stop()')
    this.flush()
    this.trace.push(-3)
    this.#event()
  }

  /** What came of a payload that is not complete. */
  flush(): void {
    if (this.#payloadLength > 0) this.trace.push(-2, this.#payloadLength, this.#payloadHash)
    this.#payloadLength = 0
    this.#payloadHash = 0
  }

  #event(): void {
    this.#events += 1
    if (this.#settings.objection === 'none' || this.#events !== this.#settings.at) return
    this.isOver = true
    this.#stop()
    if (this.#settings.objection === 'throw') throw new Objected()
  }
}

function trace(chunks: Buffer[], settings: Settings): Trace {
  const recorder = new Recorder(settings, () => decoder.stop())
  const decoder: FrameDecoder = new FrameDecoder({
    onFrame: ({ type, flags, streamId, length }) => recorder.frame(type, flags, streamId, length),
    onPayload: (bytes) => recorder.payload(bytes),
    onFrameEnd: () => recorder.end(),
  })
  for (const chunk of chunks) {
    try {
      decoder.decode(chunk)
    } catch (error) {
      if (!recorder.isOver) recorder.flush()
      if (error instanceof Objected) continue // the rest must be ignored
      if (!(error instanceof TunnelError) || error.code !== 'TUNNEL_PROTOCOL_ERROR') throw error
      recorder.trace.push(-4)
      return recorder.trace
    }
  }
  recorder.flush()
  return recorder.trace
}

function referenceTrace(bytes: Buffer, settings: Settings): Trace {
  const refused = new Error('the reference refuses')
  const recorder = new Recorder(settings, () => {})
  const parser = new ReferenceParser({
    frame({ version, type, flags, id, length }) {
      if (version !== 0 || type > 3) throw refused
      recorder.frame(type, flags, id, length)
      if (recorder.isOver) throw new Objected()
    },
    payload(piece) {
      recorder.payload(piece)
      if (recorder.isOver) throw new Objected()
    },
    end() {
      recorder.end()
      if (recorder.isOver) throw new Objected()
    },
  })
  try {
    parser.feed(bytes)
    recorder.flush()
  } catch (error) {
    if (error === refused) recorder.trace.push(-4)
    else if (!(error instanceof Objected)) throw error
  }
  return recorder.trace
}

function compare(how: string, expected: Trace, got: Trace): void {
  const isEqual = expected.length === got.length && expected.every((value, at) => value === got[at])
  must(isEqual, () => `decoded ${how}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`)
}

function cutAtRandom(bytes: Buffer, random: Random): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + random.below(random.oneIn(4) ? 64 : 9) // also empty chunks
    chunks.push(bytes.subarray(at, end))
    at = end
  }
  return chunks
}

function cutEvery(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size))
}

function describe(events: Trace, features: Features): string {
  let frames = 0
  let name = 'nothing'
  for (let at = 0; at < events.length; at += 1) {
    const event = events[at]
    if (event === -1) {
      const [type = 0, flags = 0, , length = 0] = events.slice(at + 1, at + 5)
      features.addNext(1 + type, flags & 15)
      features.addSize(10 + type, length)
      frames += 1
      name = ['data', 'window-update', 'ping', 'go-away'][type] ?? 'other'
      at += 4
    } else if (event === -2) {
      features.addSize(20, events[at + 1] ?? 0)
      at += 2
    } else if (event === -3) features.addNext(21)
    else if (event === -4) {
      features.addNext(22)
      name = 'refused'
    }
  }
  features.addSize(30, frames)
  features.add(31, hashText(name) & 0xff)
  return `${name}-${frames}`
}
