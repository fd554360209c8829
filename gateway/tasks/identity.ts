/**
 * Whether who dials is the agent that was launched. Its join code can be read wherever launches can be read (`ecs:DescribeTasks`
 * shows what a container was started with), so a launcher that can is asked for its word before the agent is let in: who comes
 * with the code from another machine is told nothing, and the task is stopped.
 */
import { within } from '../../host/within.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { Placement } from '../../protocol/task.ts'
import type { Launcher, Vouching } from '../launchers/launcher.ts'
import type { Launch } from '../store/store.ts'
import type { TaskContext } from './context.ts'
import { requestStop } from './requests.ts'

/** For the launcher's answer: the agent's dial waits for it, and gives up after 10 s (tunnel/connect.ts). */
const PATIENCE_MS = 5_000

export const notLaunched = () => new RclaudeError('unauthenticated', 'this is no launch of a living task')

/** @param why for the log, and for the task `because` */
export function alarm(context: TaskContext, { taskId, launchId }: Launch, why: string, because: string): void {
  context.log.error({ taskId, launchId }, `${why}: stopping the task`)
  const task = context.store.getTask(taskId)
  if (task) requestStop(context, task, 'gateway', because)
}

type Voucher = Launcher & Required<Pick<Launcher, 'vouch'>>

/**
 * The agent's machine, when its launcher must still vouch for it; undefined when the join code was enough, or the launcher did.
 * @throws RclaudeError `gone` when the task wants no agent any more: nothing was told to this one, so nothing is heard from it;
 *   `unavailable` when nobody is left who could vouch
 */
export function unvouched(
  { launchers, store }: TaskContext,
  launch: Launch,
): { launcher: Voucher; placement: Placement } | undefined {
  if (launch.vouchedAt !== undefined) return undefined
  const launcher = launchers.get(launch.launcher)
  const task = store.getTask(launch.taskId)
  if (launcher === undefined && task?.state === 'starting')
    throw new RclaudeError(
      'unavailable',
      `the configuration no longer has the launcher "${launch.launcher}", which alone knows its agents`,
      { retryAfterSeconds: 10 },
    )
  if (!canVouch(launcher)) return undefined
  if (task?.state !== 'starting' || task.stopRequested !== undefined)
    throw new RclaudeError('gone', 'the task of this agent has ended')
  return { launcher, placement: task.placement }
}

const canVouch = (launcher: Launcher | undefined): launcher is Voucher => launcher?.vouch !== undefined

/**
 * Resolves when the launcher has vouched for the agent, which is kept: it is asked once.
 * @param claim what the agent says its machine is called
 * @throws RclaudeError `unavailable` when it is not known yet, `unauthenticated` when it is another machine
 */
export async function vouch(
  context: TaskContext,
  launch: Launch,
  { launcher, placement }: NonNullable<ReturnType<typeof unvouched>>,
  claim: string | undefined,
): Promise<void> {
  const { launchId, taskId } = launch
  const comeAgain = (why: string, cause?: unknown) =>
    new RclaudeError('unavailable', why, { retryAfterSeconds: 0, cause })
  let word: Vouching
  try {
    word = await within(PATIENCE_MS, launcher.vouch(placement, claim), () => {
      throw new Error(`no answer within ${PATIENCE_MS / 1000} s`)
    })
  } catch (error) {
    context.heldUp.set(launchId, Date.now())
    context.log.warn(
      { err: error, taskId, launchId },
      'the launcher does not say whether this is the agent: it has to wait',
    )
    throw comeAgain(`${launcher.name} does not answer`, error)
  }
  context.heldUp.delete(launchId)
  if (word === 'not_yet') throw comeAgain(`${launcher.name} does not show the machine of this agent running yet`)
  if (word === 'no') {
    const why = claim === undefined ? 'an agent that does not say where it is' : `an agent on ${claim}`
    alarm(
      context,
      launch,
      `${why} came with the join code of ${placement.handle}`,
      'its join code was used from another machine',
    )
    throw notLaunched()
  }
  // Another may have come with the same code meanwhile.
  if (context.store.getTask(taskId)?.stopRequested)
    throw new RclaudeError('gone', 'the task of this agent is being stopped')
  context.store.setVouched(launchId)
}
