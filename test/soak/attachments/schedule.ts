/**
 * What happens to the tunnel and the gateway, and when: all of it drawn from one seed, so that a run that failed can be
 * repeated with the same disturbances. Each comes a random time after the tunnel is back from the one before, so that the
 * work gets on however long the agent waits between dials. Some come at once, before anything else is mended.
 */
import { between, randomFrom } from '../../helpers/random.ts'

export type Disturbance =
  /** Both sides of the connection are closed, or reset. `one-sided`: the gateway is not told. */
  | { kind: 'cut'; how: 'close' | 'reset' | 'one-sided' }
  /** Of the next chunk in a direction some bytes are passed on, then both sides are closed. */
  | { kind: 'torn'; from: 'agent' | 'gateway'; bytes: number }
  /** Nothing passes in either direction for a while; then both sides are closed. What was under way is lost. */
  | { kind: 'silence'; ms: number }
  /** The connection is closed, and the next one too, after it has passed on so many bytes. */
  | { kind: 'twice'; bytes: number }
  /** Nothing passes for a while; then it goes on. No cut. */
  | { kind: 'stall'; ms: number }
  /** Processes are started, and the connection is closed a moment later: some starts lose their answer. */
  | { kind: 'births'; afterStartMs: number }
  /** The same, and the gateway is killed a moment later. It is started again after so long. */
  | { kind: 'kill'; afterStartMs: number; downMs: number }

/** `afterMs` of a live tunnel. */
export type Planned = Disturbance & { afterMs: number }

export interface PlanOptions {
  seed: number
  /** Of a live tunnel, about: what mending takes comes on top. */
  seconds: number
  cuts: number
  kills: number
  /** The longest time that the gateway is down. */
  downMs?: number
}

/** One stall for so many cuts. */
const CUTS_PER_STALL = 10
/** Below the 15 s after which both ends take a silent tunnel for dead. */
const MAX_SILENCE_MS = 3_000
/** A service manager starts a killed gateway again within this. */
export const MAX_DOWN_MS = 2_000
/** A start takes a few milliseconds, and under load some tens. */
const MAX_AFTER_START_MS = 60
/** Small enough that frames, and their headers, are torn; large enough that several whole ones pass before. */
const MAX_TORN_BYTES = 4_096

export function planStorm({ seed, seconds, cuts, kills, downMs = MAX_DOWN_MS }: PlanOptions): Planned[] {
  const random = randomFrom(seed)
  const times = (count: number, draw: () => Disturbance): Disturbance[] => Array.from({ length: count }, draw)
  const all = [
    ...times(cuts, () => drawCut(random)),
    ...times(kills, () => ({
      kind: 'kill',
      afterStartMs: between(random, 0, MAX_AFTER_START_MS),
      downMs: between(random, 0, downMs),
    })),
    ...times(Math.floor(cuts / CUTS_PER_STALL), () => ({ kind: 'stall', ms: between(random, 200, MAX_SILENCE_MS) })),
  ]
  const longestMs = (2 * seconds * 1_000) / all.length
  return all
    .map((planned) => ({ planned, lot: random() }))
    .sort((a, b) => a.lot - b.lot)
    .map(({ planned }) => ({ ...planned, afterMs: Math.floor(random() * longestMs) }))
}

function drawCut(random: () => number): Disturbance {
  const lot = random()
  if (lot < 0.2) return { kind: 'cut', how: 'close' }
  if (lot < 0.35) return { kind: 'cut', how: 'reset' }
  if (lot < 0.45) return { kind: 'cut', how: 'one-sided' }
  if (lot < 0.55) return { kind: 'births', afterStartMs: between(random, 0, MAX_AFTER_START_MS) }
  const from = random() < 0.5 ? 'agent' : 'gateway'
  if (lot < 0.8) return { kind: 'torn', from, bytes: between(random, 0, MAX_TORN_BYTES) }
  if (lot < 0.9) return { kind: 'silence', ms: between(random, 200, MAX_SILENCE_MS) }
  return { kind: 'twice', bytes: between(random, 0, MAX_TORN_BYTES) }
}

export function describe(planned: Disturbance): string {
  switch (planned.kind) {
    case 'cut':
      return `cut (${planned.how})`
    case 'torn':
      return `torn after ${planned.bytes} bytes from the ${planned.from}`
    case 'silence':
      return `silent for ${planned.ms} ms, then cut`
    case 'twice':
      return `cut twice, the second time after ${planned.bytes} bytes`
    case 'stall':
      return `silent for ${planned.ms} ms`
    case 'births':
      return `cut ${planned.afterStartMs} ms after processes were started`
    case 'kill':
      return `gateway killed, down for ${planned.downMs} ms`
    default:
      return planned satisfies never
  }
}
