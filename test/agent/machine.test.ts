/** What the agent finds out about its own machine: on ECS its TaskARN, elsewhere nothing; never a reason not to start. */
import { createServer, type RequestListener } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { machineName } from '../../agent/machine.ts'
import { portOf } from '../tunnel/joined.ts'

const ARN = 'arn:aws:ecs:eu-central-1:123456789012:task/rclaude/0123456789abcdef0123456789abcdef'

/** An agent beside a metadata server that answers like this. */
async function askedOf(answer: RequestListener, patienceMs = 250) {
  const asked: string[] = []
  const log: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const env = { ECS_CONTAINER_METADATA_URI_V4: `http://127.0.0.1:${portOf(server)}/v4/abc` }
  return { name: await machineName(env, (message) => log.push(message), patienceMs), asked, log }
}

const tells = (value: unknown): RequestListener => {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return (_, response) => void response.end(text)
}

test('in a task of ECS it is the TaskARN that the metadata server tells', async () => {
  const { name, asked, log } = await askedOf(tells({ TaskARN: ARN, Cluster: 'rclaude' }))
  expect({ name, asked, log }).toEqual({ name: ARN, asked: ['/v4/abc/task'], log: [] })
})

test('a server that comes later than the agent is asked again', async () => {
  let count = 0
  const { name } = await askedOf((request, response) => {
    if (++count < 3) response.writeHead(503).end()
    else tells({ TaskARN: ARN })(request, response)
  }, 5_000)
  expect(name).toBe(ARN)
})

test('elsewhere nothing is known', async () => {
  expect(await machineName({}, () => expect.unreachable('there is nothing to say'))).toBeUndefined()
})

test.each<[string, RequestListener, RegExp]>([
  ['answers no JSON', tells('<html>'), /JSON/],
  ['tells no ARN', tells({ TaskARN: 'me\r\nevil: yes' }), /TaskARN/],
  ['never stops talking', tells('x'.repeat(300_000)), /more than 262144 bytes/],
  ['says nothing', () => {}, /abort|timeout/i],
  [
    'leads elsewhere',
    (_, response) => void response.writeHead(302, { location: 'http://x.test/' }).end(),
    /fetch failed/,
  ],
  ['is not there', (request) => void request.socket.resetAndDestroy(), /fetch failed/],
])('a server that %s leaves the agent without a claim, and says so in its log', async (_, answer, why) => {
  const { name, log } = await askedOf(answer)
  expect(name).toBeUndefined()
  expect(log).toEqual([expect.stringMatching(why)])
})
