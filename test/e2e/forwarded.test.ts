/** Reverse proxies in front of a gateway: whom the audit log names, and what a load balancer may ask. */
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import WebSocket from 'ws'
import { routes } from '../../protocol/routes.ts'
import { AGENT_ENV } from '../../protocol/run.ts'
import { freePort } from '../helpers/free-port.ts'
import { startStubGateway } from '../helpers/stub-gateway.ts'

const SPOOFED = { 'x-forwarded-for': '203.0.113.5', forwarded: 'for=203.0.113.5', 'x-real-ip': '203.0.113.5' }

/** One audited request and one audited upgrade, each with the headers. */
async function addressesSeen(listen: { trustedProxies?: string[] }): Promise<string[]> {
  const gateway = await startStubGateway({ listen })
  const authorization = `Bearer ${gateway.token}`
  const task = await gateway.api.call(routes.createTask, {
    body: { agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } },
    headers: SPOOFED,
  })
  await new Promise((resolve) => {
    const url = `${gateway.url.replace('http', 'ws')}/v1/tasks/${task.id}/processes/attach`
    const webSocket = new WebSocket(url, [], { headers: { ...SPOOFED, authorization } })
    webSocket.on('error', resolve) // no agent is there; the audit row is
  })
  const { rows } = await gateway.api.call(routes.listAudit)
  return rows.map(({ address }) => address)
}

test('a header from nobody in particular is ignored', async () => {
  const addresses = await addressesSeen({})
  expect(addresses.length).toBeGreaterThanOrEqual(2)
  expect(new Set(addresses)).toEqual(new Set(['127.0.0.1']))
}, 40_000)

test('a trusted proxy says who the caller is, in requests and upgrades', async () => {
  const addresses = await addressesSeen({ trustedProxies: ['127.0.0.0/8'] })
  expect(addresses.filter((address) => address === '203.0.113.5').length).toBeGreaterThanOrEqual(2)
}, 40_000)

test("a load balancer's probe by address is answered, anything else by a strange name is not", async () => {
  const { url } = await startStubGateway()
  const ask = (path: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const asked = request(url + path, { headers: { host: '10.0.3.7:7420' } }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      asked.on('error', reject).end()
    })
  expect(await ask(routes.health.path)).toBe(200)
  expect(await ask(routes.ready.path)).toBe(200)
  for (const path of [
    '/openapi.json',
    '/metrics',
    '/v1/info',
    `${routes.health.path}/../metrics`,
    `${routes.health.path}?x`,
  ])
    expect([path, await ask(path)]).not.toEqual([path, 200])
})

test('agents are given agentUrl, else publicUrl, else the address that is listened on', async () => {
  const given = async (urls: (port: number) => { agentUrl?: string; publicUrl?: string }) => {
    const port = await freePort()
    const gateway = await startStubGateway({ listen: { port }, ...urls(port) })
    const { taskId } = await gateway.launch()
    const environment = readFileSync(join(gateway.data, 'run', taskId, 'env'), 'utf8')
    return {
      port,
      client: gateway.url,
      agent: new RegExp(`^${AGENT_ENV.gatewayUrl}=(.*)$`, 'm').exec(environment)?.[1],
    }
  }
  const inside = 'http://127.0.0.2:9/inside'
  const both = await given((port) => ({ publicUrl: `http://localhost:${port}`, agentUrl: inside }))
  expect(both).toMatchObject({ client: `http://localhost:${both.port}`, agent: inside })
  const one = await given((port) => ({ publicUrl: `http://localhost:${port}/` }))
  expect(one).toMatchObject({ client: `http://localhost:${one.port}`, agent: `http://localhost:${one.port}` })
  const none = await given(() => ({}))
  expect(none).toMatchObject({ client: `http://127.0.0.1:${none.port}`, agent: `http://127.0.0.1:${none.port}` })
}, 60_000)
