/** Saves what there is on the gateway while a turn works, so that a killed container loses minutes and not the work. */
import type { EventBody } from '../../protocol/event.ts'
import type { TurnWorkspace } from '../workspace/turn-workspace.ts'
import { withheldText } from '../workspace/withhold.ts'

export interface Checkpoints {
  /** No more; resolves when one that is under way is done. Never rejects. */
  stop(): Promise<void>
}

export interface CheckpointOptions {
  everySeconds: number
  workspace: TurnWorkspace
  /** The coding agent's conversation, once it has one. */
  sessionId(): string | undefined
  emit(event: EventBody): Promise<void>
}

export function startCheckpoints({ everySeconds, workspace, sessionId, emit }: CheckpointOptions): Checkpoints {
  let running: Promise<void> | undefined
  let failures = 0
  const warned = new Set<string>()

  async function save(): Promise<void> {
    try {
      const id = sessionId()
      const saved = await workspace.checkpoint(id)
      if (saved?.commit === undefined) return
      failures = 0
      for (const message of saved.withheld.map(withheldText))
        if (!warned.has(message)) {
          warned.add(message)
          await emit({ type: 'warning', message })
        }
      const { commit, filesChanged } = saved
      await emit({ type: 'checkpoint', commit, filesChanged, ...(id !== undefined && { sessionId: id }) })
    } catch (error) {
      // Said once until it works again: the next one is tried in any case.
      if (failures++ === 0)
        await emit({ type: 'warning', message: `a checkpoint could not be saved: ${(error as Error).message}` })
    }
  }

  const timer = setInterval(() => {
    // Who cannot even be told that it failed will hear of it when the result is saved.
    running ??= save()
      .catch(() => {})
      .finally(() => {
        running = undefined
      })
  }, everySeconds * 1000)
  return {
    async stop() {
      clearInterval(timer)
      await running
    },
  }
}
