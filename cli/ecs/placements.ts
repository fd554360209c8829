/** Tasks of ECS as the gateway's launcher sees them: which there are, what each costs, which nobody owns. */
import type { Client } from '../../protocol/client.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import {
  type ForeignPlacement,
  type ListedPlacement,
  MAX_STOP_WAIT_SECONDS,
  type SweptPlacement,
} from '../../protocol/routes/placements.ts'
import { routes } from '../../protocol/routes.ts'
import { oneLine } from '../neutralise.ts'
import { count, type Output } from '../output.ts'
import { agoText } from '../times.ts'

export const LAUNCHER = 'ecs'

/** The last part of an ARN: what the console shows. */
export const shortHandle = (handle: string): string => handle.slice(handle.lastIndexOf('/') + 1)

const dollars = (usd: number | undefined, digits = 2): string => (usd === undefined ? '-' : `$${usd.toFixed(digits)}`)

const stateText = ({ status, isKnown }: ListedPlacement): string => (isKnown ? status : `${status}, ORPHAN`)

export async function printPlacements(
  out: Output,
  placements: readonly ListedPlacement[],
  foreign: readonly ForeignPlacement[],
  nowMs: number,
): Promise<void> {
  const rows = placements.map((one) => [
    one.taskId,
    stateText(one),
    agoText(one.startedAt, nowMs),
    dollars(one.usdPerHour, 3),
    dollars(one.usd),
    shortHandle(one.handle),
  ])
  const others = foreign.map((one) => [
    `of gateway ${one.gatewayId}`,
    '',
    agoText(one.startedAt, nowMs),
    dollars(one.usdPerHour, 3),
    '',
    shortHandle(one.handle),
  ])
  if (rows.length + others.length === 0) return void (await out.line('nothing runs on ECS for this gateway'))
  const columns = ['TASK', 'STATE', 'AGE', '$/HOUR', 'COST', 'ECS TASK'].map((title) => ({ title }))
  await out.table(columns, [...rows, ...others])
  const orphans = placements.filter(({ isKnown }) => !isKnown).length
  out.note(
    `${count(placements.length, 'machine')}${hourlyText(placements)}${orphans > 0 ? `; ${count(orphans, 'orphan')}: rclaude ecs sweep` : ''}`,
  )
}

/** Of what is paid for at the moment. */
function hourlyText(placements: readonly ListedPlacement[]): string {
  const paid = placements.filter(({ status }) => status !== 'stopped' && status !== 'gone')
  const prices = paid.flatMap(({ usdPerHour }) => (usdPerHour === undefined ? [] : [usdPerHour]))
  const unpriced = paid.length - prices.length
  if (prices.length === 0) return unpriced === 0 ? '' : ', prices not known'
  const sum = prices.reduce((total, price) => total + price, 0)
  return `, about ${dollars(sum, 3)} an hour${unpriced > 0 ? ` and ${unpriced} without a known price` : ''}`
}

export async function printPlacement(out: Output, one: ListedPlacement, nowMs: number): Promise<void> {
  const { style } = out
  await out.facts([
    ['ecs task', one.handle],
    one.isKnown ? ['state', stateText(one)] : ['state', stateText(one), style.yellow],
    ['detail', one.detail],
    ['task', one.isKnown ? one.taskId : `${one.taskId} (it does not own it: rclaude ecs stop ${one.launchId})`],
    ['launch', one.launchId],
    ['age', `${agoText(one.startedAt, nowMs)}, since ${one.startedAt}`],
    ['price', one.usdPerHour === undefined ? 'not known' : `${dollars(one.usdPerHour, 4)} an hour`],
    ['cost', one.usd === undefined ? undefined : `about ${dollars(one.usd, 4)} so far`],
  ])
}

export const ownPlacements = async (client: Client): Promise<ListedPlacement[]> =>
  (await client.call(routes.listPlacements, { query: { launcher: LAUNCHER } })).placements

/**
 * @param name the id of a task or a launch, or the beginning of it, an ARN or the beginning of its last part
 * @throws RclaudeError `not_found`, or `invalid` when it names several, or nothing
 */
export function findPlacement(placements: readonly ListedPlacement[], name: string): ListedPlacement {
  if (name === '') throw new RclaudeError('invalid', 'an empty name is the beginning of every id: name one')
  const matches = ({ taskId, launchId, handle }: ListedPlacement) =>
    launchId.startsWith(name) ||
    launchId.startsWith(`launch_${name}`) ||
    handle === name ||
    taskId.startsWith(name) ||
    taskId.startsWith(`task_${name}`) ||
    shortHandle(handle).startsWith(name)
  const found = placements.filter(matches)
  const [first] = found
  if (first === undefined)
    throw new RclaudeError('not_found', `nothing on ECS is called "${name}": rclaude ecs list shows what there is`)
  if (found.length > 1)
    throw new RclaudeError('invalid', `"${name}" may be ${found.map(({ launchId }) => launchId).join(', ')}: name one`)
  return first
}

const RESULTS: Record<SweptPlacement['result'], string> = {
  stopped: 'stopped',
  stopping: 'is stopping: rclaude ecs list shows when it is gone',
  failed: 'could not be stopped, and is tried again',
  would_stop: 'would be stopped',
}

/** Asks for those that still stop until none does; a machine that is asked twice stops once. @param tell what is waited for */
export async function untilGone(
  client: Client,
  swept: readonly SweptPlacement[],
  tell: (text: string) => void,
  waitSeconds = MAX_STOP_WAIT_SECONDS,
): Promise<SweptPlacement[]> {
  return await Promise.all(
    swept.map(async (first) => {
      let one: SweptPlacement = first
      if (one.result === 'stopping') tell(`${shortHandle(one.handle)} is stopping`)
      while (one.result === 'stopping') {
        const asked = { params: { launchId: one.launchId }, query: { launcher: LAUNCHER, waitSeconds } }
        one = await client.call(routes.stopPlacement, asked).catch((error: Error) => {
          const isGone = error instanceof RclaudeError && error.code === 'not_found'
          return isGone ? { ...first, result: 'stopped' } : { ...first, result: 'failed', message: error.message }
        })
      }
      return one
    }),
  )
}

export async function printSwept(out: Output, swept: readonly SweptPlacement[]): Promise<void> {
  for (const { handle, taskId, result, message } of swept)
    await out.line(
      `${shortHandle(handle)} of ${taskId} ${RESULTS[result]}${message === undefined ? '' : ` (${oneLine(message)})`}`,
    )
}
