/** The agent's side of forwarded ports, on plain TCP: who may take a connection up, and what happens to one nobody does. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { portUpgrade } from '../../../agent/http/ports.ts'
import { dispatchUpgrades } from '../../../agent/http/upgrade.ts'
import { PortConnections } from '../../../agent/ports/connections.ts'
import { rowsOf } from '../../../agent/ports/listening.ts'
import { newConnectionId } from '../../../protocol/ids.ts'
import { LISTEN_PROTOCOL, PORT_MESSAGE, PORT_PROTOCOL, PORT_WINDOW_BYTES } from '../../../protocol/port.ts'
import { eventually } from '../../helpers/eventually.ts'
import { dial, endingOf, serve } from '../../helpers/forwarding.ts'

async function startPorts(options: { resumeMs?: number; allowed?: string[] } = {}) {
  const connections = new PortConnections(options)
  const ports = portUpgrade({ connections, allowedHosts: () => options.allowed ?? [], launchId: 'launch_222222222222' })
  const server = createServer()
  server.on('upgrade', dispatchUpgrades(['/ports/', '/connections/'].map((prefix) => ({ prefix, handle: ports }))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    connections.close()
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const open = (path: string, user = 'alice', protocol = PORT_PROTOCOL) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, [protocol], { headers: { 'rclaude-user': user } })
    onTestFinished(() => socket.terminate())
    return socket
  }
  const opened = async (...args: Parameters<typeof open>) => {
    const socket = open(...args)
    await once(socket, 'open')
    return socket
  }
  const refusal = async (...args: Parameters<typeof open>) => {
    const socket = open(...args)
    socket.on('error', () => {})
    const [, response] = await once(socket, 'unexpected-response')
    let text = ''
    for await (const chunk of response) text += chunk
    return [response.statusCode, JSON.parse(text).detail]
  }
  return { connections, open, opened, refusal }
}

/** A server that keeps what connects to it. */
async function startServer() {
  const sockets: Socket[] = []
  const port = await serve((socket) => sockets.push(socket))
  return { port, sockets }
}

test('a connection that nobody takes up in time is reset, and forgotten', async () => {
  const { connections, opened, refusal } = await startPorts({ resumeMs: 100 })
  const server = await startServer()
  const id = newConnectionId()
  const socket = await opened(`/ports/${server.port}?id=${id}`)
  const first = await eventually('it is connected', () => server.sockets[0])
  const ending = endingOf(first)
  socket.terminate()
  expect(await ending).toBe('reset')
  expect(connections.size).toBe(0)
  expect(await refusal(`/connections/${id}`)).toEqual([410, `the connection ${id} is over`])
})

test('a connection is taken up by its own user alone, and the newest WebSocket has it', async () => {
  const { opened, refusal } = await startPorts()
  const server = await startServer()
  const alive = () => server.sockets.filter((socket) => !socket.resume().readableEnded)
  const id = newConnectionId()
  const before = await opened(`/ports/${server.port}?id=${id}`)
  expect(await refusal(`/connections/${id}`, 'bob')).toEqual([410, `the connection ${id} is over`])
  expect(await refusal(`/ports/${server.port}?id=${id}`, 'bob')).toEqual([409, `the connection ${id} is there already`])
  const ended = once(before, 'close')
  await opened(`/connections/${id}`)
  await ended
  // The start whose answer was lost is asked for again: there is one connection, not two.
  await opened(`/ports/${server.port}?id=${id}`)
  await eventually("bob's is gone", () => server.sockets.length === 2 && alive().length === 1)
})

test('a client that sends more than the window allows loses the connection', async () => {
  const { opened, connections } = await startPorts()
  const server = await startServer()
  const socket = await opened(`/ports/${server.port}`)
  const first = await eventually('it is connected', () => server.sockets[0])
  first.pause()
  const closed = once(socket, 'close')
  socket.send(Buffer.from(`${String.fromCharCode(PORT_MESSAGE.control)}{"type":"at","bytes":0}`))
  const flood = Buffer.alloc(PORT_WINDOW_BYTES + 1, PORT_MESSAGE.data)
  for (let at = 0; at < 32; at++) socket.send(flood)
  expect((await closed)[0]).toBe(1002)
  expect(connections.size).toBe(0)
  await endingOf(first) // a kernel may hand on what it had, and then say no more than that it is over
})

test('what cannot be is refused before the upgrade, with the reason', async () => {
  const { refusal } = await startPorts({ allowed: ['db.internal'] })
  const { port } = await startServer()
  expect(await refusal(`/ports/${port}`, 'alice', 'other.v1')).toEqual([
    400,
    `this speaks the WebSocket subprotocol ${PORT_PROTOCOL}, which was not offered`,
  ])
  for (const path of ['/ports/0', '/ports/65536', '/ports/x', `/ports/${port}?id=x`, `/ports/${port}?host=a%20b`])
    expect([path, (await refusal(path))[0]]).toEqual([path, 400])
  for (const path of ['/', '/ports', `/ports/${port}/other`, '/other/'])
    expect([path, (await refusal(path))[0]]).toEqual([path, 404])
  for (const host of ['10.0.0.1', 'db.internal.example.org', '0.0.0.0'])
    expect([host, (await refusal(`/ports/${port}?host=${host}`))[0]]).toEqual([host, 403])
  expect(await refusal(`/ports/1`)).toEqual([502, 'nothing listens on port 1 of the task'])
  expect(await refusal(`/ports/${port}/listen`, 'alice', LISTEN_PROTOCOL)).toEqual([
    409,
    `port ${port} of the task is taken: choose another`,
  ])
})

test('a listener whose client goes away listens no more, and resets what that client never took', async () => {
  const { open, connections } = await startPorts()
  const socket = open('/ports/0/listen', 'alice', LISTEN_PROTOCOL)
  const [message] = await once(socket, 'message')
  const { port } = JSON.parse(String(message)) as { port: number }
  const waiting = await dial(port)
  await eventually('it is held', () => connections.size === 1)
  const ending = endingOf(waiting)
  socket.terminate()
  expect(await ending).toBe('reset')
  await expect(dial(port)).rejects.toThrow('ECONNREFUSED')
})

test("the kernel's tables are read: addresses of both families, listeners only", () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1CFC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1CFD 0100007F:8F2A 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1
   3: B80D0120000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4714 1
   4: garbage`
  expect([...rowsOf(table)]).toEqual([
    { port: 7420, address: '127.0.0.1', uid: 1000, inode: '4711' },
    { port: 3000, address: '::1', uid: 0, inode: '4713' },
    { port: 3001, address: '2001:db8::1', uid: 0, inode: '4714' },
  ])
})
