/** The report of a storm, as text. */
import { quantile } from './recovery.ts'
import { describe } from './schedule.ts'
import { LEVEL_MS, type StormReport } from './storm.ts'

/** p99 is back within this time after each disturbance. */
export const RECOVERY_LIMIT_MS = 5_000

/** Disturbances after which echoes were not as quick as before in time. */
export const tooSlow = ({ disturbances }: StormReport) =>
  disturbances.filter(({ recovery }) => recovery.kind === 'never' || recovery.afterMs > RECOVERY_LIMIT_MS)

export function formatReport(report: StormReport): string {
  const { baseline, levels, cpu, disturbances, faults, tallies } = report
  const back = disturbances.flatMap(({ recovery }) => (recovery.kind === 'back' ? [recovery.afterMs] : []))
  return [
    '',
    `echo before: median ${baseline.medianMs.toFixed(1)} ms, p99 ${baseline.p99Ms.toFixed(1)} ms; back means p99 below ${baseline.limitMs.toFixed(0)} ms`,
    `medians of each ${LEVEL_MS / 1_000} s, ms: ${levels.map(Math.round).join(' ')}`,
    `processor: ${cpu.map((one) => `${one.name} runs ${percent(one.running)}, waits ${percent(one.waiting)}`).join('; ')}`,
    '     what happened                                    tunnel    echo p99            waited most for a processor',
    ...disturbances.map(({ planned, recovery, tunnelMs, starved }, index) => {
      const miss = recovery.kind === 'never' || recovery.afterMs > RECOVERY_LIMIT_MS ? '  MISS' : ''
      return `${String(index + 1).padStart(3)}  ${describe(planned).padEnd(48)} ${seconds(tunnelMs)}    ${recovery.kind.padEnd(9)} ${seconds(recovery.afterMs)}${miss.padEnd(8)} ${starved === undefined ? '' : `${starved.name} ${percent(starved.waiting)}`}`
    }),
    '',
    `p99 back: median ${seconds(quantile(back, 0.5))}, p90 ${seconds(quantile(back, 0.9))}, most ${seconds(Math.max(...back))} (${back.length} measured, ${disturbances.length - back.length} overtaken or never)`,
    `the agent dialled ${report.dials} times`,
    '',
    'kind              count      checked   retries',
    ...Object.entries(tallies).map(
      ([kind, { count, checked, retries }]) =>
        `${kind.padEnd(16)}  ${String(count).padStart(5)} ${String(checked).padStart(12)} ${String(retries).padStart(9)}`,
    ),
    '',
    faults.length === 0 ? 'no byte lost, none repeated, all exit codes right' : `${faults.length} FAULTS`,
    ...faults.map((fault) => `  ${fault}`),
  ].join('\n')
}

const percent = (share: number): string => `${Math.round(share * 100)} %`
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`
