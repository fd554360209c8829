/**
 * How long until echoes are as quick as before, from their round-trip times. Records are written at a steady pace whether
 * or not the earlier ones came back, so a record that was written during an outage shows how long it waited.
 */

/** A record's echo, in milliseconds of one clock. */
export interface Echo {
  sentAtMs: number
  tookMs: number
}

export interface Baseline {
  medianMs: number
  p99Ms: number
  /** Above this, echoes are not as before. */
  limitMs: number
}

export type Recovery = { kind: 'back'; afterMs: number } | { kind: 'overtaken' | 'never'; afterMs: number }

/** Records of this much time are judged together. */
const WINDOW_MS = 500
const STEP_MS = 25
/** Below this, a difference to the level before is the machine's noise. */
const NOISE_MS = 100
const TIMES_MEDIAN = 4

/**
 * The level before the storm, over `calm`. A machine that was busy just then would make any recovery look good, so a
 * lower median over the whole run, of which outages are a small part, counts instead.
 */
export function baselineOf(echoes: readonly Echo[], calm: { fromMs: number; toMs: number }): Baseline {
  const times = within(echoes, calm.fromMs, calm.toMs)
  if (times.length === 0) throw new Error('no echo came back before the storm')
  const wholeRun = echoes.map(({ tookMs }) => tookMs)
  const medianMs = Math.min(quantile(times, 0.5), quantile(wholeRun, 0.5))
  return { medianMs, p99Ms: quantile(times, 0.99), limitMs: Math.max(NOISE_MS, TIMES_MEDIAN * medianMs) }
}

/** The median of each `stepMs` of the run, one after another. */
export function levels(echoes: readonly Echo[], stepMs: number): number[] {
  const steps: number[][] = []
  const startMs = echoes.reduce((first, { sentAtMs }) => Math.min(first, sentAtMs), Number.POSITIVE_INFINITY)
  for (const { sentAtMs, tookMs } of echoes) {
    const step = Math.floor((sentAtMs - startMs) / stepMs)
    steps[step] ??= []
    steps[step].push(tookMs)
  }
  return steps.map((times) => quantile(times, 0.5))
}

/**
 * The first moment from which the records of a window have a p99 within the limit, counted from `overAtMs`.
 * `overtaken`: the next disturbance, at `untilMs`, came before that could be seen.
 */
export function recoveryOf(
  echoes: readonly Echo[],
  { overAtMs, untilMs, limitMs }: { overAtMs: number; untilMs: number | undefined; limitMs: number },
): Recovery {
  const lastMs = untilMs ?? echoes.reduce((last, { sentAtMs }) => Math.max(last, sentAtMs), overAtMs)
  const since = echoes.filter(({ sentAtMs }) => sentAtMs >= overAtMs && sentAtMs <= lastMs)
  for (let fromMs = overAtMs; fromMs + WINDOW_MS <= lastMs; fromMs += STEP_MS) {
    const times = within(since, fromMs, fromMs + WINDOW_MS)
    if (times.length > 0 && quantile(times, 0.99) <= limitMs) return { kind: 'back', afterMs: fromMs - overAtMs }
  }
  return { kind: untilMs === undefined ? 'never' : 'overtaken', afterMs: lastMs - overAtMs }
}

const within = (echoes: readonly Echo[], fromMs: number, toMs: number): number[] =>
  echoes.flatMap(({ sentAtMs, tookMs }) => (sentAtMs >= fromMs && sentAtMs < toMs ? [tookMs] : []))

/** The nearest rank. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN
}
