import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { command } from '../../agent/adapters/command.ts'
import { saveArtifacts } from '../../agent/artifacts.ts'
import { ownFiles } from '../../agent/files/work-files.ts'
import { Leaks } from '../../agent/run/leaks.ts'
import { Uplink } from '../../agent/uplink.ts'
import { createTurnWorkspace } from '../../agent/workspace/turn-workspace.ts'
import { Workspace } from '../../agent/workspace/workspace.ts'
import { newTaskId } from '../../protocol/ids.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { dialAs, newCredential, startStubGateway } from '../helpers/stub-gateway.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { joinedInMemory } from '../tunnel/joined.ts'
import { specOf } from './run/run-spec.ts'

test('preparing a workspace without a gateway ends when the turn is stopped', async () => {
  const directory = temporaryDirectory()
  const [work, home, state] = [join(directory, 'work'), join(directory, 'home'), join(directory, 'state')]
  const author = { name: 'A', email: 'a@example.com' }
  const taskId = newTaskId()
  const uplink = new Uplink()
  const workspace = createTurnWorkspace({
    workspace: new Workspace({ taskId, work, state, author, forward: (...request) => uplink.forward(...request) }),
    spec: specOf({
      taskId,
      workspace: { kind: 'git', objectFormat: 'sha1', snapshot: 'a', checkout: 'a', session: false },
      author,
    }),
    adapter: command,
    leaks: new Leaks({}),
    mask: (value) => value,
    cwd: work,
    home,
    sessionDirectory: join(state, 'session'),
    files: ownFiles,
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

test('what a gateway that is about to end does not take any more is done with the next one', async () => {
  const uplink = new Uplink()
  const [leaving, next] = [joinedInMemory(), joinedInMemory()]
  uplink.use(leaving.client)
  leaving.server.goAway()
  await leaving.server.ping() // the go-away went before it
  const tried: string[] = []
  let current = leaving.client
  const insisting = uplink.insist(async () => {
    tried.push(next.client === current ? 'next' : 'leaving')
    return current.open().id
  })
  await new Promise((resolve) => setImmediate(resolve))
  current = next.client
  uplink.use(next.client)
  expect(await insisting).toBeGreaterThan(0)
  expect(tried).toEqual(['next'])
})

test('what fails because of the go-away itself is tried again, and what fails otherwise is an error', async () => {
  const uplink = new Uplink()
  const [leaving, next] = [joinedInMemory(), joinedInMemory()]
  uplink.use(leaving.client)
  let tries = 0
  const insisting = uplink.insist(async () => {
    tries += 1
    if (tries > 1) return 'done'
    leaving.server.goAway()
    await leaving.server.ping()
    throw new Error('503')
  })
  await eventually('it has failed', () => tries === 1 && leaving.client.isLeaving)
  uplink.use(next.client)
  expect(await insisting).toBe('done')
  await expect(uplink.insist(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
})

test('artifacts that the gateway refuses are told with its reason, and the others are saved', async () => {
  const gateway = await startStubGateway({ limits: { artifact: '1MiB' } })
  const launch = await gateway.launch()
  const uplink = new Uplink()
  uplink.use(await dialAs(gateway, { ...launch, credential: newCredential() }))
  const directory = temporaryDirectory()
  mkdirSync(join(directory, 'sub'))
  writeFileSync(join(directory, 'large'), Buffer.alloc(16 * 1024 ** 2))
  writeFileSync(join(directory, 'sub', 'small'), 'x')
  const saving = saveArtifacts(directory, new Leaks({}), (...artifact) => uplink.putArtifact(...artifact))
  await expect(saving).rejects.toThrow(/large \(artifact large is larger than 1\.0 MiB \(limits\.artifact\)\)/)
  const { artifacts } = await gateway.api.call(routes.listArtifacts, { params: { taskId: launch.taskId } })
  expect(artifacts).toEqual([{ name: 'sub/small', size: 1 }])
})

test('of many artifacts that are not saved a few are named and the others counted', async () => {
  const directory = temporaryDirectory()
  for (let n = 0; n < 8; n++) writeFileSync(join(directory, `f${n}`), '')
  const saving = saveArtifacts(directory, new Leaks({}), () => Promise.reject(new Error('no')))
  await expect(saving).rejects.toThrow(/^artifacts were not saved: (f\d \(no\), ){4}f\d \(no\) and 3 more$/)
})
