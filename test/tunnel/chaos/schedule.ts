// What goes wrong in one run, drawn from its seed before it begins, so that it can be printed and repeated.

import { type Random, randomOf } from './random.ts'

export type End = 'dialler' | 'acceptor'

/** What becomes of one connection. */
export type ConnectionFault =
  | { kind: 'none' }
  /** Breaks when so many bytes have gone one way; each end learns it after a while, or never by itself. */
  | { kind: 'cut'; from: End; afterBytes: number; noticeMs: Record<End, number | 'never'> }
  /** From some time on nothing arrives any more, and nobody is told. */
  | { kind: 'silence'; afterMs: number }
  /** A hundredth of the bandwidth for a while. */
  | { kind: 'slow'; afterMs: number; forMs: number }

/** What becomes of one dial. */
export type DialFault =
  | 'none'
  | 'refused'
  /** Arrives and is accepted, but the answer is lost. */
  | 'answer lost'
  /** Arrives when a later one has been accepted already. */
  | 'late'

export interface StreamPlan {
  readonly openedBy: End
  readonly openAtMs: number
  /** Bytes from the opener, and back to it. */
  readonly bytes: readonly [number, number]
  readonly writeBytes: number
  /** Each reader rests so long after every so many bytes. */
  readonly restMs: number
  readonly restEveryBytes: number
}

export interface Schedule {
  readonly seed: number
  readonly latencyMs: number
  readonly bytesPerMs: number
  readonly streams: readonly StreamPlan[]
  readonly connections: readonly ConnectionFault[]
  readonly dials: readonly DialFault[]
  /** No dial comes through from the first loss of a connection on: the tunnel can't be saved. */
  readonly isDoomed: boolean
}

export function scheduleOf(seed: number): Schedule {
  const random = randomOf(seed)
  return {
    seed,
    latencyMs: random.pick([0, 1, 20, 150]),
    bytesPerMs: random.pick([20, 200, 5_000]),
    streams: Array.from({ length: random.integer(1, 8) }, () => streamPlan(random)),
    connections: Array.from({ length: random.integer(1, 12) }, () => connectionFault(random)),
    dials: dialFaults(random, random.integer(0, 20)),
    isDoomed: random.chance(0.05),
  }
}

function streamPlan(random: Random): StreamPlan {
  const amount = () => random.pick([0, 1, random.integer(2, 5_000), random.integer(5_000, 400_000)])
  return {
    openedBy: random.pick(['dialler', 'acceptor']),
    openAtMs: random.pick([0, 0, random.integer(1, 3_000)]),
    bytes: [amount(), amount()],
    writeBytes: random.pick([1, 100, 5_000, 64 * 1024, 200 * 1024].filter((size) => size > 1) as [number, ...number[]]),
    restMs: random.pick([0, 0, 5, 500]),
    restEveryBytes: random.pick([10_000, 100_000]),
  }
}

function connectionFault(random: Random): ConnectionFault {
  const notice = (): number | 'never' => random.pick([0, 0, random.integer(1, 300), 'never'])
  const kind = random.pick(['none', 'cut', 'cut', 'cut', 'cut', 'silence', 'slow'])
  switch (kind) {
    case 'cut':
      return {
        kind,
        from: random.pick(['dialler', 'acceptor']),
        afterBytes: random.pick([
          0,
          random.integer(1, 60),
          random.integer(60, 20_000),
          random.integer(20_000, 300_000),
        ]),
        noticeMs: { dialler: notice(), acceptor: notice() },
      }
    case 'silence':
      return { kind, afterMs: random.integer(0, 2_000) }
    case 'slow':
      return { kind, afterMs: random.integer(0, 500), forMs: random.integer(10, 3_000) }
    default:
      return { kind: 'none' }
  }
}

/** Never more than two in a row that fail: an outage must not outlast the time in which a tunnel can be resumed. */
function dialFaults(random: Random, count: number): DialFault[] {
  const faults: DialFault[] = []
  for (let i = 0; i < count; i += 1) {
    const mayFail = faults.at(-1) === 'none' || faults.at(-2) === 'none' || i < 2
    faults.push(mayFail ? random.pick(['none', 'none', 'refused', 'answer lost', 'late']) : 'none')
  }
  return faults
}
