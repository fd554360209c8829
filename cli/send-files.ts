/** The two steps in which a task's files leave this machine, as one sees them: the snapshot, and its way to the gateway. */
import { setTimeout as pause } from 'node:timers/promises'
import { routes } from '../protocol/routes.ts'
import type { Task } from '../protocol/task.ts'
import { formatBytes } from '../protocol/units.ts'
import type { Gateway } from './api.ts'
import type { RunView } from './run-view.ts'
import { surveyText } from './sending.ts'
import { projectFolder, snapshotOptions } from './sources.ts'
import type { RunOptions } from './task-request.ts'
import { pushSnapshot } from './workspace/push.ts'
import { type Snapshot, type SnapshotOptions, takeSnapshot } from './workspace/snapshot.ts'
import type { World } from './world.ts'

/** How long another call with the same key may take to send the files, once it has kept this one from it. */
const RIVAL_LIMIT_MS = 30_000
const RIVAL_POLL_MS = 250

export interface Sending {
  world: World
  gateway: Gateway
  view: RunView
  options: RunOptions
}

/** Says how much it is before anything is read or sent. */
export async function snapshotStep(
  { world, view, options }: Sending,
  { look, ...rest }: Required<Pick<SnapshotOptions, 'look' | 'sentBefore' | 'signal'>>,
): Promise<Snapshot> {
  const step = view.step('snapshot')
  let amount = ''
  try {
    const snapshot = await takeSnapshot(projectFolder(world, options), {
      ...rest,
      ...snapshotOptions(options),
      look: async (survey) => {
        amount = surveyText(survey)
        step.progress(amount)
        await look(survey)
      },
    })
    const uncommitted = snapshot.base !== undefined && snapshot.dirty ? ' with your uncommitted changes' : ''
    await step.done(`${snapshot.commit.slice(0, 7)}${uncommitted}: ${amount}`)
    for (const warning of snapshot.warnings) await view.warn(warning)
    return snapshot
  } catch (error) {
    await step.failed()
    throw error
  }
}

/** A task that will never get its files is stopped, unless others with the same key are sending them as well. */
export async function pushStep(
  { world, gateway, view, options }: Sending,
  task: Task,
  snapshot: Snapshot,
  signal: AbortSignal,
): Promise<void> {
  const step = view.step('upload')
  const isShared = options.idempotencyKey !== undefined
  try {
    const remote = { gateway: gateway.url, token: gateway.token, taskId: task.id, env: world.env }
    const bytes = await pushSnapshot(snapshot, remote, {
      signal,
      onProgress: ({ phase, percent, bytesText }) => {
        step.progress(`${phase.toLowerCase()} ${percent}%${bytesText === undefined ? '' : `, ${bytesText}`}`)
      },
    })
    await step.done(bytes === 0 ? 'nothing new' : formatBytes(Math.round(bytes)))
  } catch (error) {
    await step.failed()
    if (isShared && !signal.aborted && (await getsFiles(gateway, task))) return // another call with this key was quicker
    if (!isShared) await abandon(gateway, task)
    throw error
  }
}

export const awaitsFiles = (task: Task): boolean => task.state === 'queued' && task.waitingFor === 'workspace'

/** Somebody else is sending them, and done soon. */
async function getsFiles({ client }: Gateway, task: Task): Promise<boolean> {
  for (const deadline = Date.now() + RIVAL_LIMIT_MS; Date.now() < deadline; await pause(RIVAL_POLL_MS)) {
    const now = await client.call(routes.getTask, { params: { taskId: task.id } }).catch(() => task)
    if (!awaitsFiles(now)) return true
  }
  return false
}

async function abandon({ client }: Gateway, task: Task): Promise<void> {
  await client
    .call(routes.stopTask, { params: { taskId: task.id }, body: { reason: 'its workspace could not be sent' } })
    .catch(() => {}) // the gateway gives it up by itself at its deadline; the first error is the one to tell
}
