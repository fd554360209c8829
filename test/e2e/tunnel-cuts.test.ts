/** An agent whose way to the gateway breaks again and again: its user notices nothing but a pause. */
import { createHash } from 'node:crypto'
import { request } from 'node:http'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { startWorld, type World } from '../helpers/world.ts'
import { startRelay } from '../tunnel/resuming.ts'

/** A world whose agents reach the gateway through a relay that can cut. */
async function startCuttable() {
  const relay = await startRelay(0)
  const world = await startWorld({
    settings: { RCLAUDE_AGENT_URL: `http://127.0.0.1:${relay.port}`, RCLAUDE_LOG__LEVEL: 'debug' },
  })
  relay.target = Number(new URL(world.url).port)
  return { relay, world }
}

async function idle(world: World): Promise<string> {
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  await world.state(id, 'running')
  await eventually('it is connected', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && task.connection.online
  })
  return id
}

/** Sends a file up or down; resolves with the SHA-256 of what came back, or of nothing. */
function transfer(world: World, method: 'GET' | 'PUT', path: string, body?: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${world.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${world.adminToken}` },
    })
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      const hash = createHash('sha256')
      response.on('data', (bytes: Buffer) => hash.update(bytes))
      response.on('error', reject)
      response.on('end', () =>
        (response.statusCode ?? 500) < 300 ? resolve(hash.digest('hex')) : reject(new Error(`${response.statusCode}`)),
      )
    })
    outgoing.end(body)
  })
}

test('50 cuts within a minute: uploads and downloads go on untouched, and nobody was ever offline', {
  timeout: 120_000,
}, async () => {
  const { relay, world } = await startCuttable()
  const id = await idle(world)
  const content = Buffer.alloc(24 * 1024 * 1024)
  for (let at = 0; at < content.length; at += 4) content.writeUInt32LE((at * 2654435761) >>> 0, at)
  const expected = createHash('sha256').update(content).digest('hex')

  let cuts = 0
  const cutting = (async () => {
    for (; cuts < 50; cuts += 1) {
      const seen = relay.connections
      relay.cut()
      await eventually('the agent is back', () => relay.connections > seen)
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
  })()
  const startedAt = performance.now()
  const hashes: string[] = []
  while (cuts < 50) {
    await transfer(world, 'PUT', `/v1/tasks/${id}/files/big.bin`, content)
    hashes.push(await transfer(world, 'GET', `/v1/tasks/${id}/files/big.bin`))
  }
  await cutting
  expect(performance.now() - startedAt).toBeLessThan(60_000)
  expect(new Set(hashes)).toEqual(new Set([expected]))
  const events = await world.events(id)
  expect(events.filter((event) => event.type === 'connection' && !event.online)).toEqual([])
  const logged = world.gatewayLog.split('\n')
  expect(logged.filter((line) => line.includes('"agent connected"'))).toHaveLength(1)
  expect(logged.filter((line) => line.includes('the tunnel goes on over a new connection')).length).toBeGreaterThan(40)
  await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  await world.ended(id)
})

test('an agent without a connection for longer is offline, requests wait and get 503, then all goes on', {
  timeout: 60_000,
}, async () => {
  const { relay, world } = await startCuttable()
  const id = await idle(world)
  relay.isClosed = true
  relay.cut()
  await expect(transfer(world, 'GET', `/v1/tasks/${id}/files/x`)).rejects.toThrow('503')
  await eventually('it is offline', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && !task.connection.online
  })
  const waiting = transfer(world, 'GET', `/v1/tasks/${id}/files/?list`).catch((error: Error) => error.message)
  relay.isClosed = false
  await eventually('it is online again', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && task.connection.online
  })
  expect(await waiting).not.toBe('503')
  const seen = (await world.events(id)).flatMap((event) => (event.type === 'connection' ? [event.online] : []))
  expect(seen).toEqual([false, true])
  expect(world.gatewayLog.split('\n').filter((line) => line.includes('"agent connected"'))).toHaveLength(1)
  await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  await world.ended(id)
})

test('a killed agent whose connection still looks alive is not waited for', async () => {
  const { relay, world } = await startCuttable()
  const id = await idle(world)
  await eventually('it works', () => world.commands().some((command) => command.startsWith('sleep')))
  const task = await world.getTask(id)
  relay.goSilent()
  if (task.state === 'running') process.kill(Number(task.placement.handle), 'SIGKILL')
  // A request to it would take 30 s to be given up.
  expect(await world.ended(id, 20_000)).toMatchObject({ outcome: 'lost', reason: 'placement_gone' })
  expect(world.commands().filter((command) => /sleep|agent\.js/.test(command))).toEqual([])
})
