/** A gateway's door that lets nobody in: it writes down who dials, and real agents go on dialling. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { RclaudeError } from '../../protocol/errors.ts'
import { DIAL_HEADERS } from '../../protocol/run.ts'
import { eventually } from '../helpers/eventually.ts'
import type { Site } from './site.ts'

export interface Dial {
  taskId: string
  launchId: string
  joinCode: string
  /** Each agent makes its own: as many of these, as many agents. */
  credential: string
  /** What it says that its machine is called; empty when it does not say. */
  machine: string
}

export interface Dials {
  /** How a placement reaches it. */
  url: string
  /** Who has dialled for this launch, each agent once. */
  agents(launchId: string): Dial[]
  /** Resolves with the next dial for this launch, or one that has been. */
  first(launchId: string, timeoutMs: number): Promise<Dial>
  /** Resolves when this agent dials once more. */
  again(dial: Dial, timeoutMs: number): Promise<void>
  close(): Promise<void>
}

export async function openDials({ listen, reach }: Pick<Site, 'listen' | 'reach'>): Promise<Dials> {
  const dials: Dial[] = []
  const server = createServer((_, response) => response.writeHead(404).end())
  server.on('upgrade', (request, socket) => {
    const header = (name: string) => request.headers[name]?.toString() ?? ''
    dials.push({
      taskId: header(DIAL_HEADERS.taskId),
      launchId: header(DIAL_HEADERS.launchId),
      joinCode: header(DIAL_HEADERS.joinCode),
      credential: header('authorization'),
      machine: header(DIAL_HEADERS.machine),
    })
    const body = JSON.stringify(new RclaudeError('unavailable', 'nobody is let in here').toProblem())
    socket.on('error', () => {})
    socket.end(
      `HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    )
  })
  await new Promise<void>((resolve) => server.listen(0, listen, resolve))
  const { port } = server.address() as AddressInfo
  const of = (launchId: string) => dials.filter((dial) => dial.launchId === launchId)
  return {
    url: `http://${reach}:${port}`,
    agents: (launchId) => [...new Map(of(launchId).map((dial) => [dial.credential, dial])).values()],
    first: (launchId, timeoutMs) => eventually(`the agent of ${launchId} dials`, () => of(launchId)[0], timeoutMs),
    async again({ launchId, credential }, timeoutMs) {
      const count = () => of(launchId).filter((dial) => dial.credential === credential).length
      const before = count()
      await eventually(`the agent of ${launchId} dials again`, () => count() > before, timeoutMs)
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}
