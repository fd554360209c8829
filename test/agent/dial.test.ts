/** Who may send an agent away: the gateway that took it in, and nobody who took its port. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { stayDialled } from '../../agent/dial.ts'
import { type ErrorCode, RclaudeError } from '../../protocol/errors.ts'
import { GATEWAY_HEADER } from '../../protocol/version.ts'
import { eventually } from '../helpers/eventually.ts'
import { portOf } from '../tunnel/joined.ts'

type Answer = 'accept' | { status: number; body: string; id?: string }

const problem = (code: ErrorCode, id?: string): Answer => {
  const error = new RclaudeError(code, 'go away')
  return { status: error.status, body: JSON.stringify(error.toProblem()), ...(id !== undefined && { id }) }
}

/** Answers each dial with the next of `answers`, the last one for ever, in the name of `gw_1` unless it says otherwise. */
async function startDialling(...answers: Answer[]) {
  const sockets = new WebSocketServer({ noServer: true })
  sockets.on('headers', (headers) => headers.push(`${GATEWAY_HEADER}: gw_1`))
  const server = createServer()
  const seen = { dials: 0 }
  server.on('upgrade', (request, socket, head) => {
    const answer = answers[Math.min(seen.dials++, answers.length - 1)]
    if (answer === 'accept') sockets.handleUpgrade(request, socket, head, (opened) => opened.close(1012, 'restarting'))
    else if (answer !== undefined) refuse(socket, answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = new AbortController()
  const over: { result?: unknown } = {}
  const dialling = stayDialled({
    gatewayUrl: `http://127.0.0.1:${portOf(server)}`,
    taskId: 'task',
    launchId: 'launch',
    joinCode: 'code',
    onTunnel: () => {},
    onLost: () => {},
    log: () => {},
    signal: stop.signal,
    backoff: { minMs: 1, firstCeilingMs: 2, maxMs: 4 },
  }).then(
    () => {
      over.result = 'stopped'
    },
    (error: unknown) => {
      over.result = error
    },
  )
  onTestFinished(async () => {
    stop.abort()
    await dialling
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { seen, over }
}

function refuse(socket: Duplex, { status, body, id }: Exclude<Answer, 'accept'>): void {
  socket.on('error', () => {})
  const named = id === undefined ? '' : `${GATEWAY_HEADER}: ${id}\r\n`
  socket.end(`HTTP/1.1 ${status} No\r\n${named}content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`)
}

test.each(['unauthenticated', 'gone', 'version_mismatch'] as const)(
  'an agent that was never taken in believes a gateway that says %s',
  async (code) => {
    const { seen, over } = await startDialling(problem(code))
    await eventually('it gives up', () => over.result !== undefined)
    expect(over.result).toMatchObject({ code: 'TUNNEL_UPGRADE_REFUSED' })
    expect(seen.dials).toBe(1)
  },
)

test.each([
  ['a 401 of something else', { status: 401, body: 'who are you?' }],
  ['a 403, as a mistaken list of hosts gives', problem('forbidden')],
  ['a 503', problem('unavailable')],
] as const)('an agent that was never taken in goes on dialling after %s', async (_name, answer) => {
  const { seen, over } = await startDialling(answer)
  await eventually('it dials again', () => seen.dials >= 3)
  expect(over.result).toBeUndefined()
})

test('an agent that was taken in ends when its own gateway says that it is gone', async () => {
  const { seen, over } = await startDialling('accept', problem('gone', 'gw_1'))
  await eventually('it gives up', () => over.result !== undefined)
  expect(over.result).toMatchObject({ status: 410, headers: { [GATEWAY_HEADER]: 'gw_1' } })
  expect(seen.dials).toBe(2)
})

test.each([
  ['another gateway says that it is gone', problem('gone', 'gw_2')],
  ['nobody knows who says that it is gone', problem('gone')],
  ['another program says 410', { status: 410, body: 'gone', id: 'gw_1' }],
  ['another gateway does not know it', problem('unauthenticated', 'gw_2')],
  ['its gateway refuses it for another reason', problem('forbidden', 'gw_1')],
  ['something asks for a password', { status: 401, body: '' }],
] as const)('an agent that was taken in goes on dialling when %s', async (_name, answer) => {
  const { seen, over } = await startDialling('accept', answer, answer, 'accept')
  await eventually('it was taken in again', () => seen.dials >= 4)
  expect(over.result).toBeUndefined()
})
