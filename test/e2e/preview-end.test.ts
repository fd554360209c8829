/** Who is in a preview can be told, and ended at once: open requests and WebSockets of it are cut, and no others. */
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { routes } from '../../protocol/routes.ts'
import { idleTask } from '../helpers/forwarding.ts'
import { enter, startDevServer, ticketFor, visit } from '../helpers/previews.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { tokenFor } from '../helpers/users.ts'
import { startWorld, type World } from '../helpers/world.ts'

type Visitor = Awaited<ReturnType<typeof enter>>

let world: World
const look = ({ origin, cookie }: Visitor, path = '/') =>
  visit(world, `${origin}${path}`, { headers: { cookie, accept: 'text/html' } })

/** A WebSocket and a request without end, of one browser. */
async function openBoth({ origin, cookie }: Visitor) {
  const socket = new WebSocket(`${world.url.replace('http', 'ws')}/`, {
    headers: { host: new URL(origin).host, origin, cookie },
  })
  onTestFinished(() => socket.terminate())
  await once(socket, 'open')
  const cut = Promise.all([
    once(socket, 'close'),
    expect(look({ origin, cookie, url: '' }, '/for-ever')).rejects.toThrow(),
  ])
  return { socket, cut }
}

test('an owner sees who was let in, and ends one, a port or all, at once; the others stay', {
  timeout: 60_000,
}, async () => {
  world = await startWorld()
  stopTasksAfterwards(world)
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((user) => tokenFor(world, user)))
  const taskId = await idleTask(world, { ...(alice && { token: alice }) })
  const api = world.api(alice)
  await api.call(routes.share, { params: { taskId, user: 'bob' }, body: { access: 'write' } })
  const { port, hot } = await startDevServer((incoming, response) => {
    response.write('begun')
    if (incoming.url !== '/for-ever') response.end()
  })
  hot.on('connection', (socket) => socket.on('message', (data) => socket.send(`said ${data}`)))
  const other = await startDevServer((_, response) => response.end('other'))
  const [ofAlice, ofBob, elsewhere] = [
    await enter(world, taskId, port, alice),
    await enter(world, taskId, port, bob),
    await enter(world, taskId, other.port, alice),
  ]
  const listed = async () => (await api.call(routes.listPreviews, { params: { taskId } })).previews
  const [first, second, third] = await listed()
  expect([first, second, third]).toMatchObject([
    { user: 'alice', port, address: '127.0.0.1' },
    { user: 'bob', port },
    { user: 'alice', port: other.port },
  ])
  const cli = (...args: string[]) =>
    world.cli(['preview', taskId, ...args], { env: { ...world.asAdmin, RCLAUDE_TOKEN: alice ?? '' } })
  const shown = await cli('--list')
  expect(shown.stdout).toMatch(new RegExp(`${second?.id} +${port} +bob +127\\.0\\.0\\.1 `))
  expect(JSON.parse((await cli(String(other.port), '--list', '--json')).stdout)).toEqual({ taskId, previews: [third] })

  const bobs = await openBoth(ofBob)
  const alices = await openBoth(ofAlice)
  expect(await cli('--end', second?.id ?? '')).toMatchObject({ code: 0, stdout: `ended: ${second?.id}\n` })
  await bobs.cut
  expect((await look(ofBob)).status).toBe(401)
  alices.socket.send('still here')
  expect(String((await once(alices.socket, 'message'))[0])).toBe('said still here')
  expect((await look(ofAlice)).body).toBe('begun')
  expect(await listed()).toEqual([first, third])

  const unused = await ticketFor(world, taskId, port, '/', alice)
  expect(await cli(String(port), '--end')).toMatchObject({ code: 0, stdout: `ended: ${first?.id}\n` })
  await alices.cut
  expect((await look(ofAlice)).status).toBe(401)
  expect((await visit(world, unused.url)).status).toBe(401)
  expect((await look(elsewhere)).body).toBe('other')

  // Others of the gateway see nothing of it, and who was let in anew is in.
  await expect(world.api(carol).call(routes.listPreviews, { params: { taskId } })).rejects.toMatchObject({
    code: 'not_found',
  })
  const { id } = await world.createTask(
    { agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } },
    carol,
  )
  const foreign = await world
    .api(carol)
    .call(routes.endPreviews, { params: { taskId: id }, query: { id: third?.id ?? '' } as never })
  expect(foreign).toEqual({ ended: [] })
  expect((await look(elsewhere)).body).toBe('other')
  const again = await enter(world, taskId, port, alice)
  expect((await look(again)).status).toBe(200)
  expect(await cli('--end')).toMatchObject({ code: 0, stdout: expect.stringContaining(third?.id ?? '') })
  for (const visitor of [again, elsewhere]) expect((await look(visitor)).status).toBe(401)
  const { rows } = await world.api().call(routes.listAudit, { query: { taskId } as never })
  expect(rows.filter(({ action }) => action === 'preview.end')).toHaveLength(3)

  for (const [args, code, said] of [
    [[], 2, 'which port?'],
    [['--end', third?.id ?? ''], 125, 'nobody is in as'],
    [['--end', 'x'], 2, 'is no preview'],
    [['--list', '--end'], 2, 'two calls'],
  ] as const) {
    const result = await cli(...args)
    expect([args, result.code]).toEqual([args, code])
    expect(result.stderr).toContain(said)
  }
})

test('a browser whose token or share is gone is not told as one that is in', async () => {
  world = await startWorld()
  stopTasksAfterwards(world)
  const taskId = await idleTask(world)
  const made = await world.api().call(routes.createToken, { body: { name: 'x', user: 'bob', role: 'member' } })
  await world.api().call(routes.share, { params: { taskId, user: 'bob' }, body: { access: 'write' } })
  const { port } = await startDevServer((_, response) => response.end())
  await enter(world, taskId, port, made.secret)
  const listed = async () => (await world.api().call(routes.listPreviews, { params: { taskId } })).previews.length
  expect(await listed()).toBe(1)
  await world.api().call(routes.share, { params: { taskId, user: 'bob' }, body: { access: 'read' } })
  expect(await listed()).toBe(0)
  await world.api().call(routes.share, { params: { taskId, user: 'bob' }, body: { access: 'write' } })
  expect(await listed()).toBe(1)
  await world.api().call(routes.revokeToken, { params: { tokenId: made.token.id } })
  expect(await listed()).toBe(0)
})
