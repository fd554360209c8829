import { join } from 'node:path'
import { expect, test } from 'vitest'
import { command } from '../../agent/adapters/command.ts'
import { Uplink } from '../../agent/uplink.ts'
import { createTurnWorkspace } from '../../agent/workspace/turn-workspace.ts'
import { Workspace } from '../../agent/workspace/workspace.ts'
import { newTaskId } from '../../protocol/ids.ts'
import { RunSpec } from '../../protocol/run.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

test('preparing a workspace without a gateway ends when the turn is stopped', async () => {
  const directory = temporaryDirectory()
  const [work, home, state] = [join(directory, 'work'), join(directory, 'home'), join(directory, 'state')]
  const author = { name: 'A', email: 'a@example.com' }
  const taskId = newTaskId()
  const uplink = new Uplink()
  const workspace = createTurnWorkspace({
    workspace: new Workspace({ taskId, work, state, author, forward: (...request) => uplink.forward(...request) }),
    spec: RunSpec.parse({
      taskId,
      turn: 1,
      agent: 'command',
      command: ['true'],
      permissionMode: 'default',
      limits: {},
      env: {},
      secrets: {},
      workspace: { kind: 'git', objectFormat: 'sha1', snapshot: 'a', checkout: 'a', session: false },
      author,
      checkpointSeconds: 60,
      maxOfflineSeconds: 60,
    }),
    adapter: command,
    mask: (value) => value,
    cwd: work,
    home,
    sessionDirectory: join(state, 'session'),
    insist: (action, signal) => uplink.insist(action, signal),
  })
  const stop = new AbortController()
  const preparing = workspace.prepare(stop.signal)
  setTimeout(() => stop.abort(), 20)
  await expect(preparing).rejects.toThrow('aborted')
})

test('what insists without a signal waits until the gateway is given up', async () => {
  const uplink = new Uplink()
  const insisting = uplink.insist(async () => 'done')
  setTimeout(() => uplink.abandon(), 20)
  await expect(insisting).rejects.toThrow('aborted')
})
