/** What an agent may say to an upgrade, when it lies. */
import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { shakeHands } from '../../../gateway/http/handshake.ts'
import { ERROR_CODES, type ErrorCode } from '../../../protocol/errors.ts'
import { serveStreams } from '../../../tunnel/http.ts'
import { joinedInMemory } from '../../tunnel/joined.ts'

/** The handshake with an agent that answers each upgrade with these bytes. */
function shakeWith(answer: string | ((socket: Duplex) => void)) {
  const { client, server: gatewaySide } = joinedInMemory()
  const server = createServer()
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => {})
    if (typeof answer === 'string') socket.write(answer)
    else answer(socket)
  })
  onTestFinished(() => void server.closeAllConnections())
  serveStreams(client, server)
  return shakeHands(
    gatewaySide.open(),
    '/processes/attach',
    { upgrade: 'websocket' },
    (headers) => headers.good === 'yes',
  )
}

function refusal(status: number, body: string, headers = ''): string {
  return `HTTP/1.1 ${status} Whatever\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

const problem = (code: string, detail: string) =>
  JSON.stringify({ type: 'about:blank', title: 't', status: 401, detail, code })

test('only the codes that can be an agent’s own word are taken from it', async () => {
  const seen: string[] = []
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const error = await shakeWith(refusal(401, problem(code, 'sign in again'))).catch((error: unknown) => error)
    expect(error).toMatchObject({ message: expect.stringContaining('sign in again') })
    const { code: told } = error as { code: ErrorCode }
    if (told !== 'agent_failed') seen.push(told)
    else expect(error).toMatchObject({ message: 'the agent refused: sign in again' })
  }
  expect(seen).toEqual([
    'invalid',
    'program_missing',
    'program_refused',
    'forbidden',
    'not_found',
    'conflict',
    'gone',
    'limit',
    'port_refused',
  ])
})

test('no header, status or page of a refusal is passed on, and no more of its words than a line', async () => {
  const headers = 'location: https://evil.example/\r\nset-cookie: a=b\r\nwww-authenticate: Basic\r\nretry-after: 1\r\n'
  const page = await shakeWith(refusal(302, '<html>log in here</html>', headers)).catch((error: unknown) => error)
  expect(page).toMatchObject({ code: 'agent_failed', message: 'the agent refused: status 302' })
  expect(page).not.toHaveProperty('headers')
  const wordy = await shakeWith(refusal(400, problem('invalid', 'x'.repeat(3_000)))).catch((error: unknown) => error)
  expect((wordy as Error).message).toHaveLength('the agent refused: '.length + 500)
})

test('a refusal without end, and one that breaks off, are answers too', async () => {
  const endless = shakeWith((socket) => {
    socket.write('HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\n')
    const more = () => {
      while (!socket.destroyed && socket.write(`400\r\n${'x'.repeat(1_024)}\r\n`));
      if (!socket.destroyed) socket.once('drain', more)
    }
    more()
  })
  await expect(endless).rejects.toMatchObject({ code: 'agent_failed', message: 'the agent refused: status 400' })
  const broken = shakeWith((socket) => {
    socket.write('HTTP/1.1 400 No\r\ncontent-length: 100\r\n\r\nhalf')
    socket.destroy()
  })
  await expect(broken).rejects.toMatchObject({ code: 'agent_failed' })
})

test('a 101 opens only when its headers are what was asked for', async () => {
  const switching = 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n'
  await expect(shakeWith(`${switching}good: no\r\n\r\n`)).rejects.toMatchObject({
    code: 'agent_failed',
    message: "the agent's WebSocket handshake is not valid",
  })
  expect((await shakeWith(`${switching}good: yes\r\n\r\nfirst bytes`)).head.toString()).toBe('first bytes')
  await expect(shakeWith('HTTP/1.1 101 Switching Protocols\r\nx: a\rb\r\n\r\n')).rejects.toMatchObject({
    code: 'agent_failed',
  })
  await expect(shakeWith(`HTTP/1.1 400 No\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`)).rejects.toMatchObject({
    code: 'agent_failed',
  })
})
