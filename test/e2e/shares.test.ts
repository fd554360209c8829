/** A task that is shared: who sees it, what they may, and that it ends with the share. Who may do what on every route: access.test.ts. */
import { expect, test } from 'vitest'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { attachProcess, followEvents, sleepingTask } from '../helpers/open-connections.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { tokenFor } from '../helpers/users.ts'
import { git, startWorld } from '../helpers/world.ts'

/** Promised in docs/access.md. */
const CLOSED_WITHIN_MS = 5_000

test('taking a share back closes what it opened within 5 s, and nothing else', async () => {
  const world = await startWorld()
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((user) => tokenFor(world, user)))
  const [taskId, other] = [await sleepingTask(world, alice ?? ''), await sleepingTask(world, alice ?? '')]
  const owner = world.api(alice)
  for (const user of ['bob', 'carol'])
    for (const id of [taskId, other])
      await owner.call(routes.share, { params: { taskId: id, user }, body: { access: 'write' } })
  const bobs = [await followEvents(world, taskId, bob ?? ''), await attachProcess(world, taskId, bob ?? '')]
  const kept = [
    await followEvents(world, other, bob ?? ''),
    await followEvents(world, taskId, carol ?? ''),
    await attachProcess(world, taskId, carol ?? ''),
    await followEvents(world, taskId, alice ?? ''),
  ]
  await owner.call(routes.unshare, { params: { taskId, user: 'bob' } })
  for (const connection of bobs) await connection.closed(CLOSED_WITHIN_MS)
  expect(kept.map(({ isClosed }) => isClosed)).toEqual([false, false, false, false])
  const gone = world.api(bob).call(routes.getTask, { params: { taskId } })
  await expect(gone).rejects.toMatchObject({ code: 'not_found' })

  // Less is a part taken back.
  await owner.call(routes.share, { params: { taskId, user: 'carol' }, body: { access: 'read' } })
  await kept[2]?.closed(CLOSED_WITHIN_MS)
  expect((await world.api(carol).call(routes.getTask, { params: { taskId } })).id).toBe(taskId)
  await expect(
    world.api(carol).raw(routes.exec, { params: { taskId }, rawBody: JSON.stringify({ argv: ['true'] }) }),
  ).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining('ask alice for more') })
})

test('share, unshare, show and ps --shared tell of it, and names of tasks reach what is shared', async () => {
  const world = await startWorld()
  const [alice, bob] = [await tokenFor(world, 'alice'), await tokenFor(world, 'bob')]
  const as = (token: string) => ({ env: { RCLAUDE_GATEWAY: world.url, RCLAUDE_TOKEN: token } })
  const taskId = await sleepingTask(world, alice)
  const prefix = taskId.slice(5, 12)
  expect((await world.cli(['show', prefix], as(bob))).stderr).toContain('no task begins with')
  expect((await world.cli(['share', '@last', 'bob'], as(alice))).stdout).toBe(`bob may see ${taskId}\n`)
  expect((await world.cli(['ps', '-q'], as(bob))).stdout).toBe('')
  expect((await world.cli(['ps', '--shared'], as(bob))).stdout).toMatch(new RegExp(`${taskId} .* alice `))
  expect((await world.cli(['show', prefix], as(bob))).stdout).toMatch(/^owner +alice$/m)
  const refused = await world.cli(['stop', prefix], as(bob))
  expect(refused).toMatchObject({ code: 125, stderr: expect.stringContaining('is shared with you to read') })
  expect((await world.cli(['share', '@last', 'bob', '--write'], as(alice))).stdout).toContain('may work with')
  expect((await world.cli(['show', '@last'], as(alice))).stdout).toMatch(/^shared with +bob \(write\)$/m)
  expect((await world.cli(['exec', prefix, '--', 'echo', 'bob was here'], as(bob))).stdout).toBe('bob was here\n')
  expect((await world.cli(['rm', prefix], as(bob))).stderr).toContain("is alice's")
  expect((await world.cli(['share', prefix, 'zoe'], as(bob))).stderr).toContain("is alice's")
  expect((await world.cli(['share', '@last', 'alice'], as(alice))).stderr).toContain("alice's own")
  expect((await world.cli(['share', '@last', 'Not A User'], as(alice))).code).toBe(2)
  expect((await world.cli(['unshare', '@last', 'bob'], as(alice))).code).toBe(0)
  expect((await world.cli(['ps', '--shared', '-q'], as(bob))).stdout).toBe('')

  const { rows } = await world.api().call(routes.listAudit, { query: { limit: 100 } })
  const shared = rows.filter(({ action }) => action === 'task.share' || action === 'task.unshare').reverse()
  expect(shared.map(({ action, user, detail, taskId: of }) => [action, user, detail?.split('/').at(-1), of])).toEqual([
    ['task.share', 'alice', 'bob', taskId],
    ['task.share', 'alice', 'bob', taskId],
    ['task.share', 'alice', 'alice', taskId],
    ['task.share', 'alice', 'Not A User', taskId],
    ['task.unshare', 'alice', 'bob', taskId],
  ])
})

test('what is shared can be fetched and repeated, and the repeated task is of who repeats it', async () => {
  const world = await startWorld()
  const [alice, bob] = [await tokenFor(world, 'alice'), await tokenFor(world, 'bob')]
  const spec = {
    agent: 'command' as const,
    command: ['sh', '-c', 'echo more >> a.txt'],
    workspace: { kind: 'snapshot' as const },
  }
  const { id: taskId } = await world.createTask(spec, alice)
  await world.api(alice).call(routes.share, { params: { taskId, user: 'bob' }, body: { access: 'write' } })
  const remote = `${world.url}/v1/tasks/${taskId}/git`
  const lsRemote = () =>
    git(world.directory, '-c', `http.extraHeader=Authorization: Bearer ${bob}`, 'ls-remote', remote)
  // Until the owner has delivered it, the repository may borrow from what the owner sent for other tasks.
  await uploadFiles(world, taskId, { 'a.txt': 'one\n' })
  await world.ended(taskId)
  expect(await lsRemote()).toContain('refs/heads/result')
  const again = await world.api(bob).call(routes.retryTask, { params: { taskId }, body: {} })
  expect(again.owner).toBe('bob')
  await world.ended(again.id)
  expect(await (await world.api(bob).raw(routes.patch, { params: { taskId: again.id } })).text()).toContain('+more')
  await expect(world.api(alice).call(routes.getTask, { params: { taskId: again.id } })).rejects.toBeInstanceOf(
    RclaudeError,
  )

  await world.api(alice).call(routes.deleteTask, { params: { taskId } })
  expect((await world.api(bob).call(routes.listTasks, { query: { shared: '1' } })).tasks).toEqual([])
})

test('a guest cannot read or push a repository that its owner is still delivering', async () => {
  const world = await startWorld()
  const [alice, bob] = [await tokenFor(world, 'alice'), await tokenFor(world, 'bob')]
  const workspace = { kind: 'snapshot' as const, project: 'secret-project' }
  const spec = { agent: 'command' as const, command: ['true'], workspace }
  const first = await world.createTask(spec, alice)
  await uploadFiles(world, first.id, { 'private.txt': 'of another task\n' })
  await world.ended(first.id)
  const { id: taskId } = await world.createTask(spec, alice)
  await world.api(alice).call(routes.share, { params: { taskId, user: 'bob' }, body: { access: 'write' } })
  const ask = async (path: string, method: string) =>
    (
      await fetch(`${world.url}/v1/tasks/${taskId}/${path}`, {
        method,
        headers: { authorization: `Bearer ${bob}` },
        ...(method !== 'GET' && { body: '0000' }),
      })
    ).status
  expect(await ask('git/info/refs?service=git-upload-pack', 'GET')).toBe(409)
  expect(await ask('git/info/refs?service=git-receive-pack', 'GET')).toBe(409)
  expect(await ask('git/git-upload-pack', 'POST')).toBe(409)
  expect(await ask('git/git-receive-pack', 'POST')).toBe(403)
  expect(await ask('workspace', 'PUT')).toBe(403)
  await world.api(alice).call(routes.stopTask, { params: { taskId }, body: {} })
})
