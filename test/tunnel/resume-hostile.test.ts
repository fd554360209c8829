// Positions, epochs, ids and acknowledgements that cannot be, from either end.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { encodeHeader, Flag, FrameType } from '../../tunnel/frame.ts'
import { answerHeaders, parseAnswer, parseAsk, RESUME_HEADERS } from '../../tunnel/resume-headers.ts'
import { MAX_TEXT_BYTES } from '../../tunnel/transport.ts'
import { OWN_PEER } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { portOf } from './joined.ts'
import { type Acceptor, startAcceptor, startDialling } from './resuming.ts'

const OPTIONS = { ...OWN_PEER, pingAfterMs: 0 }
const PING = encodeHeader({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: 1 })

interface Dial {
  ws: WebSocket
  session: string
  received: number
  texts: string[]
}

/** One dial by hand; rejects with the status of a refusal. */
async function dial(acceptor: Acceptor, ask: Record<string, string>, owner = 'mallory'): Promise<Dial> {
  const ws = new WebSocket(`ws://127.0.0.1:${acceptor.port}/`, { headers: { ...ask, authorization: owner } })
  onTestFinished(() => ws.terminate())
  const result = { ws, session: '', received: -1, texts: [] as string[] }
  ws.on('error', () => {})
  ws.on('upgrade', ({ headers }) => Object.assign(result, parseAnswer(headers)))
  ws.on('message', (data, isBinary) => void (!isBinary && result.texts.push(String(data))))
  await Promise.race([
    once(ws, 'open'),
    once(ws, 'unexpected-response').then(([, response]) => {
      ws.terminate()
      throw new Error(`status ${(response as { statusCode: number }).statusCode}`)
    }),
  ])
  return result
}

const ask = (session: string, epoch: number | string, received: number | string) => ({
  [RESUME_HEADERS.session]: session,
  [RESUME_HEADERS.epoch]: `${epoch}`,
  [RESUME_HEADERS.received]: `${received}`,
})

/** A session in which the accepting end has sent one ping answer of 12 bytes. */
async function begun() {
  const acceptor = await startAcceptor(OPTIONS)
  const first = await dial(acceptor, ask('new', 5, 0))
  first.ws.send(PING)
  await once(first.ws, 'message')
  const [tunnel] = acceptor.tunnels
  if (tunnel === undefined) throw new Error('no tunnel')
  return { acceptor, first, tunnel }
}

describe('a dial', () => {
  it('with the right position goes on; what was acknowledged is not sent again', async () => {
    const { acceptor, first, tunnel } = await begun()
    const next = await dial(acceptor, ask(first.session, 6, 12))
    expect(next).toMatchObject({ session: first.session, received: 12 })
    expect(tunnel.stats()).toMatchObject({ resumes: 1, isAttached: true })
    next.ws.send(PING)
    const [answer] = (await once(next.ws, 'message')) as [Buffer]
    expect(answer.length).toBe(12)
  })

  it('that lost the answer gets it replayed', async () => {
    const { acceptor, first } = await begun()
    const next = new WebSocket(`ws://127.0.0.1:${acceptor.port}/`, {
      headers: { ...ask(first.session, 6, 5), authorization: 'mallory' },
    })
    onTestFinished(() => next.terminate())
    const [rest] = (await once(next, 'message')) as [Buffer]
    expect(rest.toString('hex')).toBe('020000000000000001'.slice(-14))
  })

  it.each([
    ['lower', 4],
    ['equal', 5],
  ])('with a %s epoch is refused and changes nothing', async (_name, epoch) => {
    const { acceptor, first, tunnel } = await begun()
    await expect(dial(acceptor, ask(first.session, epoch, 12))).rejects.toThrow('status 409')
    expect(tunnel.stats()).toMatchObject({ resumes: 0, isAttached: true })
    first.ws.send(PING)
    await once(first.ws, 'message')
  })

  it.each([
    ['more than was ever sent', 13],
    ['far more', Number.MAX_SAFE_INTEGER],
  ])('that claims to have %s ends the session and nothing else', async (_name, position) => {
    const { acceptor, first, tunnel } = await begun()
    const other = await dial(acceptor, ask('new', 1, 0), 'alice')
    await expect(dial(acceptor, ask(first.session, 6, position))).rejects.toThrow('status 400')
    const { kind, message } = await tunnel.closed
    expect(kind).toBe('protocol')
    expect(message).toMatch(/which cannot be/)
    expect(acceptor.sessions.size).toBe(1)
    other.ws.send(PING)
    await once(other.ws, 'message')
  })

  it('that claims less than it acknowledged before ends the session', async () => {
    const { acceptor, first, tunnel } = await begun()
    first.ws.send('12')
    await eventually('it counts', () => tunnel.stats().bytesInFlight === 0)
    await expect(dial(acceptor, ask(first.session, 6, 11))).rejects.toThrow('status 400')
    expect((await tunnel.closed).kind).toBe('protocol')
  })

  it.each([
    ['a fraction', ask('new', 1, '1.5')],
    ['a negative count', ask('new', 1, -1)],
    ['an exponent', ask('new', '1e3', 0)],
    ['leading zeros', ask('new', 1, '007')],
    ['too big an epoch', ask('new', '9007199254740993', 0)],
    ['an id of another shape', ask('../../etc/passwd', 1, 0)],
    ['no epoch', { [RESUME_HEADERS.session]: 'new', [RESUME_HEADERS.received]: '0' }],
  ])('with %s is refused', async (_name, headers) => {
    const acceptor = await startAcceptor(OPTIONS)
    await expect(dial(acceptor, headers)).rejects.toThrow('status 400')
    expect(acceptor.tunnels).toEqual([])
    expect(() => parseAsk(headers)).toThrow(/cannot be read/)
  })

  it('for a new session that comes late, after a later one, changes nothing', async () => {
    const { acceptor, tunnel } = await begun()
    await expect(dial(acceptor, ask('new', 4, 0))).rejects.toThrow('status 409')
    expect(tunnel.stats()).toMatchObject({ isAttached: true })
    expect(acceptor.tunnels).toHaveLength(1)
  })

  it("with another owner's session gets what an unknown one gets: a new session", async () => {
    const { acceptor, first, tunnel } = await begun()
    const stolen = await dial(acceptor, ask(first.session, 6, 12), 'eve')
    const unknown = await dial(acceptor, ask('A'.repeat(22), 6, 12), 'trudy')
    for (const { session, received } of [stolen, unknown]) {
      expect(session).not.toBe(first.session)
      expect(received).toBe(0)
    }
    expect(tunnel.stats()).toMatchObject({ resumes: 0, isAttached: true })
    expect(acceptor.tunnels).toHaveLength(3)
  })

  it('for a new session ends the one that its owner had', async () => {
    const { acceptor, tunnel } = await begun()
    await dial(acceptor, ask('new', 6, 0))
    expect((await tunnel.closed).message).toMatch(/has begun another session/)
    expect(acceptor.sessions.size).toBe(1)
  })
})

describe('an acknowledgement', () => {
  it.each(['13', '-1', '1e1', 'abc', '', '0x1', '99999999999999999', '1'.repeat(17)])(
    'that says "%s" ends the session or its connection, and nothing else',
    async (text) => {
      const { acceptor, first, tunnel } = await begun()
      first.ws.send(text)
      await once(first.ws, 'close')
      if (text.length > MAX_TEXT_BYTES) await eventually('it has left the connection', () => !tunnel.isAttached)
      else expect((await tunnel.closed).message).toMatch(/says that it acknowledges/)
      const other = await dial(acceptor, ask('new', 1, 0), 'alice')
      other.ws.send(PING)
      await once(other.ws, 'message')
    },
  )

  it('that goes back ends the session', async () => {
    const { first, tunnel } = await begun()
    first.ws.send('12')
    first.ws.send('11')
    expect((await tunnel.closed).kind).toBe('protocol')
  })

  it('comes for what was received, soon', async () => {
    const { first } = await begun()
    await eventually('it comes', () => first.texts.includes('12'), 2_000)
  })
})

describe('an accepting end', () => {
  it.each([
    ['a position beyond all that was sent', (id: string) => answerHeaders({ session: id, received: 1_000_000 })],
    ['headers that cannot be read', () => ({ [RESUME_HEADERS.session]: 'x', [RESUME_HEADERS.received]: 'y' })],
  ])('that answers with %s costs the session, and the next dial begins anew', async (_name, headersOf) => {
    const id = 'B'.repeat(22)
    const server = createServer()
    const wss = new WebSocketServer({ noServer: true })
    let dials = 0
    const asked: unknown[] = []
    wss.on('headers', (headers, request) => {
      dials += 1
      asked.push(request.headers[RESUME_HEADERS.session])
      const answer = dials === 2 ? headersOf(id) : answerHeaders({ session: id, received: 0 })
      for (const [name, value] of Object.entries(answer)) headers.push(`${name}: ${value}`)
    })
    server.on('upgrade', (request, socket, head) => {
      wss.handleUpgrade(request, socket, head, (ws) => void (dials === 1 && setTimeout(() => ws.terminate(), 20)))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(async () => {
      for (const ws of wss.clients) ws.terminate()
      await new Promise((resolve) => server.close(resolve))
    })
    const dialling = startDialling(portOf(server), OPTIONS)
    await eventually('it dialled a third time', () => dials >= 3)
    expect(asked.slice(0, 2)).toEqual(['new', id])
    expect(dialling.tunnels.length).toBeLessThanOrEqual(2)
  })
})
