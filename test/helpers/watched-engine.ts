/** The Docker engine behind a socket that sees every request before and after the engine does: a test may stop the world there. */
import { createServer, request } from 'node:http'

export interface WatchedEngine {
  /** As `launchers.docker.host` has it. */
  host: string
  /** Called with each request, `POST /containers/create?name=one`, before the engine gets it and again when it has answered. */
  onRequest: (line: string, when: 'before' | 'after') => Promise<void>
  close(): Promise<void>
}

/** @param path where the new socket is made */
export async function watchEngine(host: string, path: string): Promise<WatchedEngine> {
  const socketPath = host.replace(/^unix:\/\//, '')
  const watched: WatchedEngine = {
    host: `unix://${path}`,
    onRequest: async () => {},
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const server = createServer(async (asked, answer) => {
    const { method, url, headers } = asked
    const line = `${method} ${url}`
    asked.on('error', () => {})
    answer.on('error', () => {})
    const body: Buffer[] = []
    try {
      for await (const piece of asked) body.push(piece as Buffer)
    } catch {
      return
    }
    await watched.onRequest(line, 'before')
    const passed = request({ socketPath, method, path: url, headers }, async (response) => {
      await watched.onRequest(line, 'after')
      answer.writeHead(response.statusCode ?? 500, response.headers)
      response.pipe(answer)
    })
    passed.on('error', () => answer.destroy())
    passed.end(Buffer.concat(body))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return watched
}
