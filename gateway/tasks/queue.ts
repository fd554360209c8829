/**
 * The order in which queued tasks are launched, fair between users: the next one is that of the user with the fewest
 * tasks running; of several, of the one who was served longest ago; then the oldest. So whoever queues a hundred tasks
 * waits behind himself, not others behind him.
 */
import type { TaskId } from '../../protocol/ids.ts'
import type { WaitLimit } from '../../protocol/limits.ts'
import type { Task } from '../../protocol/task.ts'
import type { Waiting } from '../store/store.ts'
import type { TaskContext } from './context.ts'
import { countRoom, type Room } from './room.ts'
import type { Served } from './served.ts'

export function inOrder(
  waiting: readonly Waiting[],
  room: Pick<Room, 'running'>,
  served: Pick<Served, 'at'>,
): Waiting[] {
  const ahead = new Map<string, number>()
  const ranked = waiting.map((task, age) => {
    const rank = ahead.get(task.owner) ?? room.running(task.owner)
    ahead.set(task.owner, rank + 1)
    return { task, rank, served: served.at(task.owner), age }
  })
  return ranked.sort((a, b) => a.rank - b.rank || a.served - b.served || a.age - b.age).map(({ task }) => task)
}

/** A launch that failed for want of a machine is not tried again before its time. */
export const isDue = ({ notBefore }: Waiting, nowMs = Date.now()): boolean =>
  notBefore === undefined || Date.parse(notBefore) <= nowMs

export interface Place {
  limit: WaitLimit
  position: number
}

/** Where each queued task stands that a limit holds back. */
export function places(context: Pick<TaskContext, 'store' | 'config' | 'served'>): Map<TaskId, Place> {
  const room = countRoom(context.store, context.config.limits)
  const found = new Map<TaskId, Place>()
  const ahead = new Map<string, number>()
  for (const task of inOrder(
    context.store.waitingTasks().filter((one) => isDue(one)),
    room,
    context.served,
  )) {
    const grant = room.grant(task)
    if ('usd' in grant) {
      room.take(task, grant.usd) // its launch is near
      continue
    }
    const { limit } = grant
    const line = `${limit} ${limit === 'limits.maxTasks' ? '' : limit.startsWith('token.') ? task.tokenId : task.owner}`
    const position = (ahead.get(line) ?? 0) + 1
    ahead.set(line, position)
    found.set(task.id, { limit, position })
  }
  return found
}

/** The tasks as they are stored, and those that wait with their places. */
export function withPlaces(context: Pick<TaskContext, 'store' | 'config' | 'served'>, tasks: Task[]): Task[] {
  if (!tasks.some(isInQueue)) return tasks
  const found = places(context)
  return tasks.map((task) => (isInQueue(task) ? { ...task, ...found.get(task.id) } : task))
}

const isInQueue = (task: Task): boolean => task.state === 'queued' && task.waitingFor === 'launch'
