/** What goes wrong with ECS in a run, by lot. */
import type { Fault } from '../../helpers/ecs/faults.ts'
import type { Ecs } from '../../helpers/ecs/server.ts'
import { between } from '../../helpers/random.ts'

export type Random = () => number

const NO_CAPACITY = { reason: 'Capacity is unavailable at this time. Please try again later.' }
/** Of everything that comes late: ghosts, machines, answers, what is not shown yet. */
export const LATEST_MS = 60

function drawFault(random: Random): Fault | undefined {
  const ms = between(random, 0, LATEST_MS)
  switch (between(random, 0, 14)) {
    case 0:
      return { kind: 'throttled' }
    case 1:
      return { kind: 'throttled-wrapped' }
    case 2:
      return { kind: 'server-error' }
    case 3:
      return { kind: 'reset-before' }
    case 4:
      return { kind: 'reset-after' }
    case 5:
      return { kind: 'slow', ms }
    case 6:
      return { kind: 'failure', failure: NO_CAPACITY }
    case 7:
      return { kind: 'ghost', failure: NO_CAPACITY, afterMs: ms }
    case 8:
      return { kind: 'no-capacity', ms }
    case 9:
      return { kind: 'missing', ms }
    case 10:
      return { kind: 'shown-late', ms: 10 * ms }
    default:
      return undefined
  }
}

const ONLY_RUN_TASK = /^(failure|ghost|no-capacity|missing|shown-late)$/

/** For the next calls of a launch, and of what comes after it. */
export function spreadFaults(ecs: Ecs, random: Random): void {
  for (const operation of ['RunTask', 'RunTask', 'DescribeTasks', 'ListTasks', 'StopTask']) {
    const fault = drawFault(random)
    if (fault !== undefined && (operation === 'RunTask' || !ONLY_RUN_TASK.test(fault.kind)))
      ecs.faults.next(operation, fault)
  }
}
