/** The gateway's own requests to an agent that does not play along. */
import { createServer, type RequestListener } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { AgentLink, AgentLinks } from '../../../gateway/tunnels/links.ts'
import { newLaunchId, newTaskId } from '../../../protocol/ids.ts'
import { serveStreams } from '../../../tunnel/http.ts'
import { OWN_PEER } from '../../../tunnel/tunnel.ts'
import { eventually } from '../../helpers/eventually.ts'
import { joinedInMemory } from '../../tunnel/joined.ts'
import { startAcceptor, startDialling, startRelay } from '../../tunnel/resuming.ts'

function linkTo(agent: RequestListener, callTimeoutMs = 300): AgentLink {
  const { client, server: gatewaySide } = joinedInMemory()
  const server = createServer(agent)
  onTestFinished(() => void server.closeAllConnections())
  serveStreams(client, server)
  return new AgentLink(
    newTaskId(),
    newLaunchId(),
    gatewaySide,
    { version: 'test', capabilities: [] },
    { callTimeoutMs },
  )
}

test('an answer that begins and never ends is given up like one that never begins', async () => {
  const stalled = linkTo((_request, response) => void response.writeHead(200).write('{"turn":'))
  await expect(stalled.call('GET', '/run')).rejects.toMatchObject({ code: 'agent_timeout' })
  const silent = linkTo(() => {})
  await expect(silent.call('POST', '/stop', {})).rejects.toMatchObject({ code: 'agent_timeout' })
  const refusing = linkTo((_request, response) => void response.writeHead(500).write('{'))
  await expect(refusing.stream('/events')).rejects.toMatchObject({ code: 'agent_timeout' })
})

test('a request whose connection is lost ends at once, and the next one goes over the connection that replaces it', async () => {
  const acceptor = await startAcceptor(OWN_PEER)
  const relay = await startRelay(acceptor.port)
  const agentSide = await startDialling(relay.port, OWN_PEER).first
  const gatewaySide = await eventually('the gateway has it', () => acceptor.tunnels[0])
  let asked = 0
  const server = createServer((_request, response) => {
    asked += 1
    if (asked > 1) response.end('{"turn":1}')
  })
  onTestFinished(() => void server.closeAllConnections())
  serveStreams(agentSide, server)
  const link = new AgentLink(newTaskId(), newLaunchId(), gatewaySide, { version: 'test', capabilities: [] })
  const hanging = link.call('GET', '/run')
  await eventually('the agent is asked', () => asked === 1)
  relay.cut()
  await expect(hanging).rejects.toMatchObject({ code: 'agent_offline' })
  expect(await link.call('GET', '/run')).toEqual({ turn: 1 })
})

test('a stream over the cap is refused as a limit, one after go-away as an agent that is leaving', async () => {
  const { client, server: gatewaySide } = joinedInMemory({}, { maxOutgoingStreams: 2 })
  const link = new AgentLink(newTaskId(), newLaunchId(), gatewaySide, { version: 'test', capabilities: [] })
  const [first] = [await link.open(), await link.open()]
  await expect(link.open()).rejects.toMatchObject({ code: 'limit', retryAfterSeconds: 1 })
  first.destroy()
  const third = await link.open()
  client.goAway()
  await client.ping() // the go-away went before it
  third.destroy()
  await expect(link.open()).rejects.toMatchObject({ code: 'agent_offline', retryAfterSeconds: 1 })
})

test('who waits for a task gets its link when it comes, or nothing in the end', async () => {
  const links = new AgentLinks()
  const { server } = joinedInMemory()
  const link = new AgentLink(newTaskId(), newLaunchId(), server, { version: 'test', capabilities: [] })
  expect(await links.whenLinked(link.taskId, 20)).toBe(undefined)
  const two = [links.whenLinked(link.taskId, 5_000), links.whenLinked(link.taskId, 5_000)]
  const other = links.whenLinked(newTaskId(), 50)
  links.attach(link)
  expect(await Promise.all(two)).toEqual([link, link])
  expect(await links.whenLinked(link.taskId, 0)).toBe(link)
  expect(await other).toBe(undefined)
})

test('a stream that has begun may last', async () => {
  const link = linkTo((_request, response) => {
    response.writeHead(200).write('first')
    setTimeout(() => response.end('last'), 600)
  }, 200)
  let text = ''
  for await (const chunk of await link.stream('/events')) text += chunk
  expect(text).toBe('firstlast')
})

test("an answer without end, no JSON, or an upgrade is the agent's failure", async () => {
  const endless = linkTo((_request, response) => {
    const more = () => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
      if (!response.destroyed) response.once('drain', more)
    }
    response.on('error', () => {})
    more()
  }, 5_000)
  await expect(endless.call('GET', '/run')).rejects.toMatchObject({ code: 'agent_failed' })
  const wordy = linkTo((_request, response) => void response.end('hello'))
  await expect(wordy.call('GET', '/run')).rejects.toMatchObject({ code: 'agent_failed' })
  const upgrading = linkTo((request) => {
    request.socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
  })
  await expect(upgrading.call('GET', '/run')).rejects.toMatchObject({ code: 'agent_failed' })
})
