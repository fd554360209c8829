/** One end of a forwarded connection against the other, over links that are cut at any moment. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PORT_MESSAGE, PORT_WINDOW_BYTES } from '../../protocol/port.ts'
import { type LocalEnd, PortPipe } from '../../protocol/port-pipe.ts'

/** A local socket that takes bytes when it is told to. */
class FakeSocket implements LocalEnd {
  readonly written: Uint8Array[] = []
  readonly #waiting: (() => void)[] = []
  isPaused = false
  hasEnded = false
  wasReset = false
  isDone = false
  readonly pipe = new PortPipe(this, () => {
    this.isDone = true
  })

  get untaken(): number {
    return this.#waiting.length
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  write(bytes: Uint8Array, taken: () => void): void {
    this.written.push(bytes.slice())
    this.#waiting.push(taken)
  }

  end(taken: () => void): void {
    this.hasEnded = true
    this.#waiting.push(taken)
  }

  reset(): void {
    this.wasReset = true
  }

  take(): void {
    this.#waiting.shift()?.()
  }

  get text(): string {
    return Buffer.concat(this.written).toString()
  }
}

interface Wire {
  from: FakeSocket
  to: FakeSocket
  messages: Uint8Array[]
}

/** Two ends, and what is under way between them. */
function createPair() {
  const a = new FakeSocket()
  const b = new FakeSocket()
  const wires: Wire[] = [
    { from: a, to: b, messages: [] },
    { from: b, to: a, messages: [] },
  ]
  const connect = () => {
    for (const wire of wires) wire.messages = []
    for (const wire of wires) {
      const { messages, from } = wire
      from.pipe.connect({ send: (message) => void messages.push(message.slice()), close: () => {} })
    }
  }
  const cut = () => {
    for (const wire of wires) {
      wire.messages = []
      wire.from.pipe.disconnect()
    }
  }
  const deliver = (at: number) => {
    const wire = wires[at] as Wire
    const message = wire.messages.shift()
    if (message !== undefined) wire.to.pipe.receive(message)
  }
  return { a, b, wires, connect, cut, deliver }
}

test('whatever is cut whenever: every byte arrives once and in order, then both ends are done', () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('send' as const),
      by: fc.integer({ min: 0, max: 1 }),
      bytes: fc.string({ minLength: 1 }),
    }),
    fc.record({ do: fc.constant('deliver' as const), by: fc.integer({ min: 0, max: 1 }) }),
    fc.record({ do: fc.constant('take' as const), by: fc.integer({ min: 0, max: 1 }) }),
    fc.record({ do: fc.constant('end' as const), by: fc.integer({ min: 0, max: 1 }) }),
    fc.record({ do: fc.constant('cut' as const) }),
    fc.record({ do: fc.constant('connect' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 120, size: 'max' }), (steps) => {
      const { a, b, connect, cut, deliver, wires } = createPair()
      const ends = [a, b]
      const sent = ['', '']
      const ended = [false, false]
      const say = (by: number, bytes: string) => {
        if (ended[by]) return
        sent[by] += bytes
        ends[by]?.pipe.onData(Buffer.from(bytes))
      }
      const end = (by: number) => {
        ended[by] = true
        ends[by]?.pipe.onEnd()
      }
      const isOver = () => a.isDone || b.isDone
      connect()
      for (const one of steps) {
        if (one.do === 'send') say(one.by, one.bytes)
        else if (one.do === 'deliver') deliver(one.by)
        else if (one.do === 'take') ends[one.by]?.take()
        else if (one.do === 'end') end(one.by)
        else if (one.do === 'cut') cut()
        else if (!isOver()) connect()
      }
      end(0)
      end(1)
      if (!isOver()) connect()
      for (let turn = 0; turn < 1_000 && !(a.isDone && b.isDone); turn++) {
        const isStill = wires.every(({ messages }) => messages.length === 0) && a.untaken + b.untaken === 0
        // One end may be done while its last receipt was lost: nothing is left that the other could miss.
        if (isStill && isOver()) break
        for (const at of [0, 1]) {
          deliver(at)
          ends[at]?.take()
        }
      }
      expect([b.text, a.text]).toEqual(sent)
      expect([a.hasEnded, b.hasEnded, a.wasReset, b.wasReset]).toEqual([true, true, false, false])
      expect(a.isDone || b.isDone).toBe(true)
      for (const one of ends) expect(one.isDone || one.pipe.isWhole).toBe(true)
    }),
    { numRuns: 600 },
  )
})

test('no more is read than the window, until the other end has passed some on', () => {
  const { a, b, connect, deliver } = createPair()
  connect()
  deliver(0)
  deliver(1)
  const piece = Buffer.alloc(64 * 1024)
  let read = 0
  while (!a.isPaused) {
    a.pipe.onData(piece)
    read += piece.length
  }
  expect(read).toBe(PORT_WINDOW_BYTES)
  while (b.written.length * piece.length < read) deliver(0)
  deliver(1)
  expect(a.isPaused).toBe(true)
  while (b.untaken > 0) b.take()
  deliver(1)
  expect(a.isPaused).toBe(false)
})

test('pieces that do not divide the window are held back until they fit', () => {
  const { a, b, connect, deliver } = createPair()
  connect()
  const content = Buffer.alloc(5 * PORT_WINDOW_BYTES, 'some bytes, ')
  const size = 60_001
  for (let at = 0, turns = 0; (at < content.length || !a.isDone) && turns < 10_000; turns++) {
    if (at < content.length && !a.isPaused) {
      a.pipe.onData(content.subarray(at, at + size))
      at += size
      if (at >= content.length) {
        a.pipe.onEnd()
        b.pipe.onEnd()
      }
    } else {
      for (let turn = 0; turn < 30; turn++) {
        deliver(0)
        deliver(1)
      }
      b.take()
      a.take()
    }
  }
  expect([a.isDone, b.wasReset]).toEqual([true, false])
  expect(Buffer.concat(b.written).equals(content)).toBe(true)
})

test('a reset is told at once, or on the next link, and a given-up connection on none', () => {
  const { a, b, connect, cut, deliver } = createPair()
  connect()
  for (const at of [0, 1, 0, 1]) deliver(at)
  cut()
  a.pipe.onFailed()
  expect([a.isDone, b.wasReset]).toEqual([false, false])
  connect()
  for (const at of [0, 1, 0, 1]) deliver(at)
  expect([a.isDone, b.isDone, b.wasReset]).toEqual([true, true, true])
  const other = createPair()
  other.a.pipe.abandon()
  expect([other.a.isDone, other.a.wasReset]).toEqual([true, true])
})

test('a peer that breaks the rules loses the connection, and nothing of it is passed on', () => {
  const control = (value: unknown) =>
    Buffer.concat([
      Buffer.of(PORT_MESSAGE.control),
      Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
    ])
  const at = control({ type: 'at', bytes: 0 })
  const full = Buffer.alloc(PORT_WINDOW_BYTES / 2 + 2)
  for (const [what, messages] of [
    ['an empty message', [Buffer.alloc(0)]],
    ['an unknown one', [Buffer.of(7)]],
    ['no JSON', [control('{')]],
    ['an unknown shape', [control({ type: 'ack', bytes: -1 })]],
    ['a position that never was', [control({ type: 'at', bytes: 5 })]],
    ['a second beginning', [at, at]],
    ['a receipt before the beginning', [control({ type: 'ack', bytes: 0 })]],
    ['a receipt for what was not sent', [at, control({ type: 'ack', bytes: 1 })]],
    ['a second end', [at, Buffer.of(PORT_MESSAGE.end), Buffer.of(PORT_MESSAGE.end)]],
    ['bytes after the end', [at, Buffer.of(PORT_MESSAGE.end), Buffer.of(PORT_MESSAGE.data, 1)]],
    ['more than the window', [at, full, full]],
  ] as const) {
    const socket = new FakeSocket()
    const closes: number[] = []
    socket.pipe.connect({ send: () => {}, close: (code) => void closes.push(code) })
    for (const message of messages) socket.pipe.receive(message)
    expect([what, closes, socket.wasReset, socket.isDone]).toEqual([what, [1002], true, true])
  }
})
