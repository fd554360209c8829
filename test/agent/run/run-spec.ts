/** A run of a plain command that does nothing, unless the test says otherwise. */
import { newTaskId } from '../../../protocol/ids.ts'
import { RunSpec } from '../../../protocol/run.ts'

export const specOf = (spec: Partial<RunSpec>): RunSpec =>
  RunSpec.parse({
    taskId: newTaskId(),
    turn: 1,
    agent: 'command',
    command: ['true'],
    permissionMode: 'default',
    limits: {},
    env: {},
    secrets: {},
    workspace: { kind: 'repo', url: 'https://example.com/x.git', depth: 50 },
    author: { name: 'A', email: 'a@example.com' },
    checkpointSeconds: 60,
    maxOfflineSeconds: 60,
    ...spec,
  })
