/** Numbers of several runs made into one, and rows run in turn. */

/** The middle value; of an even number the lower one of the two. NaN of none. */
export const median = (values: readonly number[]): number => percentile(values, 50)

/** The smallest value that `percent` of all do not exceed (nearest rank). NaN of none. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const rank = Math.ceil((percent / 100) * sorted.length)
  return sorted[Math.max(0, rank - 1)] ?? Number.NaN
}

export interface Case<Sample> {
  name: string
  run(): Promise<Sample>
}

/**
 * Runs all cases once to warm up, unless told otherwise, then each of them `runs` times in turn, so that noise of the machine hits all alike.
 * The order moves by one each round: nobody always comes after the same neighbour.
 */
export async function interleave<Sample>(
  cases: readonly Case<Sample>[],
  runs: number,
  signal: AbortSignal,
  { warmUp = true }: { warmUp?: boolean } = {},
): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]))
  for (let round = warmUp ? -1 : 0; round < runs; round++) {
    for (let n = 0; n < cases.length; n++) {
      signal.throwIfAborted()
      const one = cases[(n + Math.max(0, round)) % cases.length]
      if (one === undefined) continue
      const sample = await one.run()
      if (round >= 0) samples.get(one.name)?.push(sample)
    }
  }
  return samples
}
