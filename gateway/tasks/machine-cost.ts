/**
 * What the machines of a task cost, beside what its model does: the hours of each placement at the price that its launcher
 * gave with it. Machines that are gone are summed in the task; the present one is counted when somebody looks.
 */
import type { Placement, Task } from '../../protocol/task.ts'

/**
 * As it stands at this moment; undefined when no machine of the task had a price.
 * @param paidSeconds of the present machine, when its launcher knows
 */
export function machineCost(task: Task, nowMs = Date.now(), paidSeconds?: number): Task['machineCost'] {
  const placement = 'placement' in task ? task.placement : undefined
  if (placement?.usdPerHour === undefined) return task.machineCost
  const { usd, seconds } = task.machineCost ?? { usd: 0, seconds: 0 }
  const lasted = paidSeconds ?? paidUntil(nowMs, placement, task.state === 'starting')
  return { usd: usd + usdFor(lasted, placement.usdPerHour), seconds: seconds + lasted }
}

/** Seconds. @param mayWait there may be no machine yet: when not, and nobody said when it came, all its time counts */
export function paidUntil(
  nowMs: number,
  { startedAt, paidFrom }: Pick<Placement, 'startedAt' | 'paidFrom'>,
  mayWait: boolean,
): number {
  if (paidFrom === null && mayWait) return 0
  return Math.max(0, nowMs - Date.parse(paidFrom ?? startedAt)) / 1000
}

export const usdFor = (seconds: number, usdPerHour: number): number => (seconds / 3_600) * usdPerHour

export function withMachineCost(task: Task): Task {
  const cost = machineCost(task)
  return cost === undefined ? task : { ...task, machineCost: cost }
}
