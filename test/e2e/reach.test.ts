/** A client's request while the task's agent is not connected, as after a restart of the gateway. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { eventually } from '../helpers/eventually.ts'
import { dialAs, newCredential, type Serve, startStubGateway } from '../helpers/stub-gateway.ts'

const serve: Serve = (request, response) => {
  if (request.url !== '/processes') return false
  response.writeHead(200, { 'content-type': 'application/json' }).end('{"processes":[]}')
  return true
}

async function awayAgent() {
  const gateway = await startStubGateway()
  const { joinCode, ...launch } = await gateway.launch()
  const who = { ...launch, credential: newCredential() }
  const tunnel = await dialAs(gateway, { ...who, joinCode }, serve)
  await eventually('the task runs', async () => (await gateway.getTask(who.taskId)).state === 'running')
  await tunnel.close('for a moment')
  const ask = () =>
    fetch(`${gateway.url}/v1/tasks/${who.taskId}/processes`, { headers: { authorization: `Bearer ${gateway.token}` } })
  return { ask, back: () => dialAs(gateway, who, serve) }
}

test('it waits for an agent that is back in a moment', async () => {
  const { ask, back } = await awayAgent()
  const asked = ask()
  await sleep(500)
  await back()
  expect((await asked).status).toBe(200)
}, 30_000)

test('it is told after 10 s when to try again', async () => {
  const { ask } = await awayAgent()
  const response = await ask()
  expect(response.headers.get('retry-after')).toBe('1')
  expect(await response.json()).toMatchObject({ status: 503, code: 'agent_offline' })
}, 30_000)
