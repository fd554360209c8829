/**
 * Git speaks HTTP to a URL and to nothing else, so for as long as one git command of the daemon runs, a server on
 * loopback takes its requests and hands them to the gateway through the tunnel. It wants a random token that only this
 * command knows: the work runs on the same machine.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'

/** What the gateway serves for the agent's own task. */
const PATHS = new Set(['/git/info/refs', '/git/git-upload-pack', '/git/git-receive-pack'])

export interface GitBridge extends AsyncDisposable {
  url: string
  /** For git's environment, never its argv. */
  config: readonly (readonly [key: string, value: string])[]
}

/** `forward` answers requests for `/git/...`; the token is taken off before. */
export async function openGitBridge(forward: RequestListener): Promise<GitBridge> {
  const expected = Buffer.from(`Bearer ${randomBytes(24).toString('base64url')}`)
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const given = Buffer.from(request.headers.authorization ?? '')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) response.writeHead(401).end()
    else if (!PATHS.has((request.url ?? '').split('?')[0] ?? '')) response.writeHead(404).end()
    else {
      delete request.headers.authorization
      forward(request, response)
    }
  })
  server.requestTimeout = 0 // a large pack takes its time; git's own end closes the connection
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the git bridge has no port')
  const origin = `http://127.0.0.1:${address.port}`
  return {
    url: `${origin}/git`,
    config: [
      [`http.${origin}/.extraHeader`, `Authorization: ${expected.toString()}`],
      [`http.${origin}/.proxy`, ''],
      ['http.followRedirects', 'false'],
    ],
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
