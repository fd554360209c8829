/**
 * Writes launches into a gateway's store before the gateway starts: tasks whose agents are about to dial in. They belong
 * to a launcher that the gateway does not have, so nobody asks after their processes; everything else is real.
 */
import { join } from 'node:path'
import { hashSecret, newSecret } from '../../gateway/auth/tokens.ts'
import { openStore } from '../../gateway/store/sqlite.ts'
import { NO_USAGE } from '../../protocol/event.ts'
import { newLaunchId, newTaskId } from '../../protocol/ids.ts'
import { TaskSpec } from '../../protocol/task.ts'
import type { SeededLaunch } from './workers/agents.ts'

const LAUNCHER = 'bench'

export function seedLaunches(dataDirectory: string, count: number): SeededLaunch[] {
  const store = openStore(join(dataDirectory, 'gateway.db'))
  try {
    return Array.from({ length: count }, () => seedOne(store))
  } finally {
    store.close()
  }
}

function seedOne(store: ReturnType<typeof openStore>): SeededLaunch {
  const [taskId, launchId, joinCode, now] = [newTaskId(), newLaunchId(), newSecret(), new Date().toISOString()]
  const placement = { launchId, launcher: LAUNCHER, handle: 'bench', startedAt: now }
  store.insertTask({
    task: {
      id: taskId,
      owner: 'bench',
      spec: TaskSpec.parse({ agent: 'command', command: ['true'], workspace: { kind: 'none' } }),
      createdAt: now,
      turns: [{ turn: 1, prompt: '', createdAt: now }],
      workspace: {},
      usage: NO_USAGE,
      lastSeq: 0,
      state: 'starting',
      placement,
      since: now,
    },
    secrets: undefined,
    events: [],
  })
  store.insertLaunch({ launchId, taskId, launcher: LAUNCHER, joinHash: hashSecret(joinCode), createdAt: now })
  store.setPlacement(launchId, placement)
  return { taskId, launchId, joinCode }
}
