/** A browser as far as previews see it: requests by the name of a preview, which is this machine, and its cookie. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import { WebSocketServer } from 'ws'
import { routes } from '../../protocol/routes.ts'
import { textOf } from './forwarding.ts'
import type { World } from './world.ts'

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

export interface Asked {
  method?: string
  headers?: Record<string, string>
  body?: string
}

/** Somebody's server on this machine, with WebSockets (`hot`) beside its pages, until the test is over. */
export async function startDevServer(answer: RequestListener) {
  const server = createServer(answer)
  const hot = new WebSocketServer({ server, perMessageDeflate: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const client of hot.clients) client.terminate()
    server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, hot }
}

/** A request to a preview as a browser makes it: by its name, which is this machine. */
export function visit(world: World, url: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> {
  const { host, pathname, search } = new URL(url)
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        port: new URL(world.url).port,
        host: '127.0.0.1',
        path: pathname + search,
        method,
        headers: { host, ...headers },
      },
      (response) => {
        textOf(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
          reject,
        )
      },
    )
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}

export const ticketFor = (world: World, taskId: string, port: number, path = '/', token?: string) =>
  world.api(token).call(routes.openPreview, { params: { taskId, port: String(port) }, body: { path } })

/** Lets a browser in. @returns where it is, and its cookie */
export async function enter(world: World, taskId: string, port: number, token?: string) {
  const { url, origin } = await ticketFor(world, taskId, port, '/start?a=1', token)
  const entered = await visit(world, url)
  expect([entered.status, entered.headers.location]).toEqual([303, '/start?a=1'])
  const [whole = ''] = entered.headers['set-cookie'] ?? []
  expect(whole).toMatch(/^rclaude-preview=\S+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=28800$/)
  return { origin, url, cookie: whole.split(';', 1)[0] ?? '' }
}
