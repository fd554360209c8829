// The app at one end of pair-target.ts: it opens, writes, reads and resets, and remembers what it did.

import type { TunnelStream } from '../../../tunnel/stream.ts'
import type { Tunnel } from '../../../tunnel/tunnel.ts'
import { patternAt } from './pattern.ts'
import { must } from './target.ts'

export interface PairSettings {
  readonly initialWindowBytes: number
  readonly maxWindowBytes: number
  readonly windowBudgetBytes: number
  readonly maxIncomingStreams: number
  readonly maxOutgoingStreams: number
  /** What a direction of the wire takes before it says that it is full. */
  readonly wireBytes: number
}

export type End = 'complete' | 'reset' | 'refused' | 'cut'

interface Stream {
  readonly stream: TunnelStream
  wrote: number
  got: number
  appEnded: boolean
  gotEnd: boolean
  wasReset: boolean
  error: string | undefined
}

const OPEN_ERRORS = ['TUNNEL_CLOSED', 'TUNNEL_GOING_AWAY', 'TUNNEL_TOO_MANY_STREAMS']
const STREAM_ERRORS = ['TUNNEL_CLOSED', 'ECONNRESET', 'TUNNEL_STREAM_REFUSED']
/** What waits to be sent, in windows: each takes a round trip. */
const MAX_UNSENT_WINDOWS = 8
const BEYOND_WINDOW_BYTES = 64 * 1024

export class Endpoint {
  readonly #side: 'client' | 'server'
  readonly #tunnel: Tunnel
  readonly #settings: PairSettings
  readonly #streams = new Map<number, Stream>()

  constructor(side: 'client' | 'server', tunnel: Tunnel, settings: PairSettings) {
    this.#side = side
    this.#tunnel = tunnel
    this.#settings = settings
    tunnel.onStream((stream) => this.#hold(stream))
  }

  get streams(): number {
    return this.#tunnel.streams
  }

  open(): void {
    try {
      this.#hold(this.#tunnel.open())
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
      must(OPEN_ERRORS.includes(code), () => `open() threw ${code}`)
    }
  }

  write(n: number, length: number): void {
    const one = this.#nth(n)
    if (one === undefined || one.appEnded || !one.stream.writable) return
    const room = MAX_UNSENT_WINDOWS * this.#settings.initialWindowBytes - one.stream.writableLength
    const bytes = patternAt(originOf(this.#side, one.stream) + one.wrote, Math.min(length, room))
    if (bytes.length > 0) one.stream.write(bytes)
    one.wrote += bytes.length
  }

  end(n: number): void {
    const one = this.#nth(n)
    if (one !== undefined) this.#end(one)
  }

  destroy(n: number, how: number): void {
    const one = this.#nth(n)
    if (one === undefined || one.stream.destroyed) return
    one.wasReset = true
    if (how & 1) one.stream.destroySoon()
    else one.stream.destroy()
  }

  read(n: number, how: 'flow' | 'pause' | 'take', size: number): void {
    const stream = this.#nth(n)?.stream
    if (how === 'flow') stream?.resume()
    else if (how === 'pause') stream?.pause()
    else stream?.read(size)
  }

  goAway(): void {
    this.#tunnel.goAway()
  }

  readAll(): void {
    for (const { stream } of this.#streams.values()) stream.resume()
  }

  endAll(): void {
    for (const one of this.#streams.values()) this.#end(one)
  }

  states(): number[] {
    return [...this.#streams.values()].slice(0, 1).map(({ stream, appEnded, gotEnd, wasReset, error }) => {
      const bits = [appEnded, gotEnd, wasReset, error !== undefined, stream.destroyed, stream.writableNeedDrain]
      return bits.reduce((sum, bit, at) => sum | (bit ? 1 << at : 0), stream.readableFlowing ? 64 : 0)
    })
  }

  /** What `other` has sent and our app has not read is bounded. */
  checkHeld(other: Endpoint): void {
    const bound = this.#settings.maxWindowBytes + BEYOND_WINDOW_BYTES
    for (const [id, { got, stream }] of this.#streams) {
      const sent = other.#streams.get(id)?.stream.bytesWritten ?? 0
      must(
        stream.destroyed || sent - got <= bound,
        () => `stream ${id}: ${sent - got} bytes on their way, bound ${bound}`,
      )
    }
  }

  /** Everything is delivered and everybody reads: what `other` wrote is here, its end too, and its resets. */
  checkArrived(other: Endpoint): void {
    for (const [id, here] of this.#streams) {
      const there = other.#streams.get(id)
      if (there === undefined) {
        must(here.stream.destroyed || here.wasReset, () => `stream ${id} exists on the ${this.#side} only`)
        continue
      }
      if (here.wasReset || there.wasReset) {
        must(here.stream.destroyed || !there.stream.destroyed, () => `stream ${id} outlived its reset`)
        continue
      }
      must(here.error === undefined, () => `stream ${id} failed with ${here.error}, though nobody reset it`)
      must(here.got === there.wrote, () => `stream ${id}: ${here.got} of ${there.wrote} bytes arrived`)
      must(
        here.gotEnd === there.appEnded,
        () => `stream ${id}: ended ${there.appEnded}, seen ${here.gotEnd} by the ${this.#side}`,
      )
    }
  }

  checkDestroyed(): void {
    for (const [id, { stream }] of this.#streams)
      must(stream.destroyed && stream.closed, () => `stream ${id} is left on the ${this.#side} after the end`)
  }

  outcomes(other: Endpoint): End[] {
    return [...this.#streams].map(([id, { error, gotEnd, got, wasReset }]) => {
      if (error === 'TUNNEL_STREAM_REFUSED') return 'refused'
      if (error === 'ECONNRESET' || wasReset) return 'reset'
      return gotEnd && got === other.#streams.get(id)?.wrote ? 'complete' : 'cut'
    })
  }

  #end(one: Stream): void {
    if (!one.stream.writable) return
    one.appEnded = true
    one.stream.end()
  }

  #nth(n: number): Stream | undefined {
    return [...this.#streams.values()][n % Math.max(1, this.#streams.size)]
  }

  #hold(stream: TunnelStream): void {
    const state = { wrote: 0, got: 0, appEnded: false, gotEnd: false, wasReset: false }
    const one: Stream = { stream, error: undefined, ...state }
    must(!this.#streams.has(stream.id), () => `stream ${stream.id} came twice`)
    this.#streams.set(stream.id, one)
    const from = originOf(this.#side === 'client' ? 'server' : 'client', stream)
    stream.on('data', (bytes: Buffer) => {
      const isRight = bytes.equals(patternAt(from + one.got, bytes.length))
      must(isRight, () => `stream ${stream.id}: wrong bytes at ${one.got} on the ${this.#side}`)
      one.got += bytes.length
    })
    stream.on('end', () => {
      one.gotEnd = true
    })
    stream.on('error', (error: NodeJS.ErrnoException) => {
      one.error = error.code
      must(STREAM_ERRORS.includes(error.code ?? ''), () => `stream ${stream.id} failed with ${error.message}`)
    })
    stream.pause()
  }
}

/** Each direction of each stream begins elsewhere in the pattern, so that bytes of another stream are wrong ones. */
function originOf(writer: 'client' | 'server', { id }: TunnelStream): number {
  return id * 997 + (writer === 'client' ? 31 : 0)
}
