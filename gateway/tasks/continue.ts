/** Another prompt: for the agent that is kept, or for a new one that takes up files and conversation. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TokenId } from '../../protocol/ids.ts'
import { stateOf, type Task } from '../../protocol/task.ts'
import type { Hidden } from '../auth/vault.ts'
import { type Asker, admit, checkDayBudgets, checkQuotas } from './admission.ts'
import { isoNow, type TaskContext } from './context.ts'
import { sealed, tokenForAnotherClone } from './hidden.ts'
import { withBudget } from './launch.ts'
import { mustHaveFiles } from './pruned.ts'
import { countRoom } from './room.ts'

/** @param tokenId of who asks: its limits count for the turn, and the turn on its account; the task stays its owner's */
export async function continueTask(
  context: TaskContext,
  task: Task,
  prompt: string,
  given: Hidden,
  tokenId: TokenId,
): Promise<Task> {
  mayContinue(task)
  const hidden: Hidden = {
    secrets: given.secrets,
    repoToken: await tokenForAnotherClone(context, task, given.repoToken),
  }
  const asker = { owner: task.owner, tokenId }
  if (task.state === 'ended') await admit(context, task.spec, hidden.secrets, asker)
  const changed = context.store.changeTask(task.id, (now) => {
    if (now.state !== task.state || now.turns.length !== task.turns.length || isStopping(now)) return undefined
    if (now.pruned !== undefined) return undefined
    const granted = now.state === 'running' ? moneyNow(context, now, asker) : undefined
    if (now.state !== 'running') checkQuotas(context, now.spec, asker)
    // In the same transaction: a turn without the secrets it was given would be run without them.
    const box = sealed(context, task.id, hidden)
    if (box !== undefined) context.store.putSecrets(task.id, box)
    const turns = [...now.turns, { turn: now.turns.length + 1, prompt, createdAt: isoNow() }]
    const message = 'another turn'
    if (now.state === 'running') {
      const { keptUntil: _, ...working } = stateOf(now) as Extract<ReturnType<typeof stateOf>, { state: 'running' }>
      return {
        state: working,
        turns: withBudget(turns, granted),
        tokenId,
        events: [{ type: 'state', state: 'running', message }],
      }
    }
    const state = { state: 'queued', waitingFor: 'launch', since: isoNow() } as const
    return { state, turns, tokenId, stopRequested: null, events: [{ type: 'state', state: 'queued', message }] }
  })
  if (changed === undefined) throw new RclaudeError('conflict', `task ${task.id} changed meanwhile: look at it again`)
  context.wake(task.id)
  return changed
}

/** What a turn on a machine that is kept may cost. It cannot wait for money as a queued one does. */
function moneyNow(context: TaskContext, { spec }: Task, asker: Asker): number | undefined {
  checkDayBudgets(context, spec, asker)
  const claim = { ...asker, agent: spec.agent, budgetUsd: spec.limits.budgetUsd }
  const grant = countRoom(context.store, context.config.limits).grantMoney(claim)
  if ('usd' in grant) return grant.usd
  throw new RclaudeError(
    'limit',
    `what is left of the budget of today is set aside for running tasks (${grant.limit}): wait until one has ended`,
    { retryAfterSeconds: MONEY_RETRY_SECONDS },
  )
}

const MONEY_RETRY_SECONDS = 60

function mayContinue(task: Task): void {
  const refuse = (why: string): never => {
    throw new RclaudeError('conflict', `task ${task.id} ${why}`)
  }
  if (task.spec.agent === 'command') refuse('ran a command, which has no conversation: use rclaude retry')
  if (isStopping(task)) refuse('is being stopped: wait until it has ended')
  mustHaveFiles(task)
  const isKept = task.state === 'running' && task.keptUntil !== undefined
  if (task.state !== 'ended' && !isKept) refuse(`is ${task.state}: wait until its turn has ended, or stop it`)
  if (task.spec.workspace.kind === 'snapshot' && task.workspace.snapshot === undefined)
    refuse('never got its workspace: run it anew from your repository')
}

const isStopping = (task: Task): boolean => task.state !== 'ended' && task.stopRequested !== undefined
