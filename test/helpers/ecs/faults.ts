/** What goes wrong, by script: the next calls of an operation meet these, in this order. */
import type { Failure } from '@aws-sdk/client-ecs'
import { EcsError, invalid } from './errors.ts'

export type Fault =
  /** ThrottlingException, before anything happened. */
  | { kind: 'throttled' }
  /** As the control plane says it when a service behind it is throttled: no SDK retries this one. */
  | { kind: 'throttled-wrapped' }
  | { kind: 'server-error' }
  /** The connection is reset before anything happened, or when all has happened and nobody was told. */
  | { kind: 'reset-before' }
  | { kind: 'reset-after' }
  /** The answer takes so long. */
  | { kind: 'slow'; ms: number }
  /** RunTask answers 200 with this, and starts nothing. */
  | { kind: 'failure'; failure: Failure }
  /** The same, but the task starts all the same, so long after. */
  | { kind: 'ghost'; failure: Failure; afterMs: number }
  /** RunTask: no machine for so long. */
  | { kind: 'no-capacity'; ms: number }
  /** RunTask: DescribeTasks and ListTasks don't know the task for so long. */
  | { kind: 'missing'; ms: number }
  /** RunTask: the task runs for so long before DescribeTasks shows that it does. */
  | { kind: 'shown-late'; ms: number }
  /** Something happens elsewhere, while the caller waits: before the effect, or between it and the answer. */
  | { kind: 'meanwhile'; when: 'before' | 'after'; happens: () => Promise<void> }
  /** IAM refuses. */
  | { kind: 'denied' }

export class Faults {
  readonly #script = new Map<string, Fault[]>()
  /** Actions that IAM refuses whenever they are asked for. */
  readonly denied = new Set<string>()

  next(operation: string, ...faults: Fault[]): void {
    this.#script.set(operation, [...(this.#script.get(operation) ?? []), ...faults])
  }

  take(operation: string): Fault | undefined {
    if (this.denied.has(operation)) return { kind: 'denied' }
    return this.#script.get(operation)?.shift()
  }

  get isOver(): boolean {
    return [...this.#script.values()].every((left) => left.length === 0)
  }
}

/** The error that a fault is, if it is one before the effect. */
export function errorOf(fault: Fault | undefined, operation: string): EcsError | undefined {
  switch (fault?.kind) {
    case 'throttled':
      return new EcsError('ThrottlingException', 'Rate exceeded')
    case 'throttled-wrapped':
      return invalid('Error retrieving subnet information for [subnet-1]: Rate exceeded (ErrorCode: Throttling)')
    case 'server-error':
      return new EcsError('ServerException', 'Service Unavailable. Please try again later.')
    case 'denied':
      return new EcsError(
        'AccessDeniedException',
        `User: arn:aws:iam::123456789012:user/gateway is not authorized to perform: ecs:${operation} on resource: * because no identity-based policy allows the ecs:${operation} action`,
      )
    default:
      return undefined
  }
}
