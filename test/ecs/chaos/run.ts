/** One seeded run: of the launcher alone, or, each so many, of a whole gateway, which takes seconds instead of moments. */
import { gatewayRun } from './gateway-run.ts'
import type { Judgement } from './judge.ts'
import { launcherRun } from './launcher-run.ts'

export interface RunResult extends Judgement {
  seed: number
  launches: number
  /** Of launcher or gateway. */
  kills: number
}

const GATEWAY_EVERY = 10

export const isOfGateway = (seed: number): boolean => seed % GATEWAY_EVERY === 0

/** They wait most of the time. */
const AT_ONCE = 4

/** @param onResult told of each run as it ends */
export async function chaosRuns(from: number, runs: number, onResult: (result: RunResult) => void): Promise<void> {
  let next = from
  const work = async () => {
    for (let seed = next++; seed < from + runs; seed = next++)
      onResult(await (isOfGateway(seed) ? gatewayRun(seed) : launcherRun(seed)))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}
