/** A request on a preview's host: lets a browser in, or passes on to the dev server what one that is in asks for. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../../../protocol/errors.ts'
import { newRequestId } from '../../../protocol/ids.ts'
import { framing, hasBody } from '../../../tunnel/forwarding.ts'
import { requestOver } from '../../../tunnel/http.ts'
import type { Deps } from '../context.ts'
import { gatherWrites } from '../gather-writes.ts'
import { toRclaudeError } from '../problem.ts'
import { waitAfterRequest } from '../receive-answer.ts'
import { checkCaller, fromServer, toServer } from './headers.ts'
import type { PreviewPlace } from './hosts.ts'
import { sendPage } from './page.ts'
import { listPorts, openPort } from './port.ts'
import { type Admitted, ENTER_PATH } from './previews.ts'

/** From the request's last byte until the answer begins: the first page of a dev server is compiled meanwhile. */
const HEAD_TIMEOUT_MS = 300_000

export async function servePreview(
  deps: Deps,
  place: PreviewPlace,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const requestId = newRequestId()
  let admitted: Admitted | undefined
  try {
    checkTarget(request)
    if (request.url?.split('?', 1)[0] === ENTER_PATH) return enter(deps, place, request, response, requestId)
    checkCaller(request)
    admitted = deps.previews.admit(place, request)
    deps.portCount.enter(admitted.task.id, response)
    deps.connections.add(admitted.principal, response, admitted.task.id, admitted.previewId)
    await pass(deps, place, admitted, request, response)
  } catch (caught) {
    const error = toRclaudeError(caught, deps.log, requestId, request)
    const isAbsent = error.code === 'port_refused' && admitted !== undefined
    const ports = isAbsent && admitted && (await listPorts(deps, admitted.task, admitted.principal))
    const command = error.code === 'unauthenticated' ? `rclaude preview ${place.taskId} ${place.port}` : undefined
    sendPage(request, response, {
      error,
      requestId,
      ...(command && { command }),
      ports: isAbsent ? ports || [] : undefined,
    })
  }
}

/** One server answers here, so its paths are its own; but there is one meaning of a target. */
function checkTarget({ url = '', method }: IncomingMessage): void {
  if (!url.startsWith('/') || method === 'CONNECT' || method === 'TRACE')
    throw new RclaudeError('invalid', 'the request must name a path')
}

function enter(
  { previews, store, addressOf }: Deps,
  place: PreviewPlace,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
): void {
  if (request.method !== 'GET' || /prefetch|preview/i.test(String(request.headers['sec-purpose'] ?? '')))
    throw new RclaudeError('invalid', 'a link that lets in is opened, not looked at before') // and keeps its ticket
  const secret = new URL(request.url ?? '', 'http://preview').searchParams.get('ticket') ?? ''
  const { principal, task, cookie, path } = previews.enter(place, secret, addressOf(request))
  store.insertAudit({
    at: new Date().toISOString(),
    user: principal.user,
    tokenId: principal.tokenId,
    address: addressOf(request),
    action: 'preview.enter',
    requestId,
    detail: `port ${place.port}`,
    taskId: task.id,
  })
  response.writeHead(303, {
    location: path,
    'set-cookie': cookie,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'content-length': 0,
  })
  response.end()
}

async function pass(
  deps: Deps,
  { port }: PreviewPlace,
  { principal, task }: Admitted,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const server = await openPort(deps, task, port, principal)
  response.once('close', () => server.destroy())
  if (response.destroyed) return void server.destroy()
  if (request.headers.expect?.toLowerCase() === '100-continue') response.writeContinue()
  const upstream = requestOver(server, {
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    headers: { ...toServer(request.headers, port), ...(bodyMayCome(request) && framing(request)) },
  })
  const answer = answerOf(upstream, port)
  if (hasBody(request)) pipeline(request, upstream).catch(() => upstream.destroy())
  else upstream.end()
  const said = await answer
  response.writeHead(said.statusCode ?? 502, fromServer(said.headers, port))
  response.flushHeaders()
  gatherWrites(said, response.socket)
  pipeline(said, response).catch(() => response.destroy())
}

/** Dev servers are told of a body only where one can be: a length of 0 on a GET confuses some. */
const bodyMayCome = (request: IncomingMessage): boolean =>
  hasBody(request) || !['GET', 'HEAD', 'OPTIONS'].includes(request.method ?? '')

function answerOf(upstream: ReturnType<typeof requestOver>, port: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause?: Error) => {
      stopWaiting()
      upstream.destroy()
      reject(new RclaudeError('agent_failed', `the server on port ${port} ${message}`, { cause }))
    }
    const onLate = () => fail(`did not answer within ${HEAD_TIMEOUT_MS / 1000} s`)
    const stopWaiting = waitAfterRequest(upstream, HEAD_TIMEOUT_MS, onLate)
    upstream.once('response', (response) => {
      const { statusCode = 0 } = response
      if (statusCode < 200) return fail(`answered with the status ${statusCode}`)
      stopWaiting()
      resolve(response)
    })
    upstream.once('upgrade', (_response, socket: Duplex) => {
      socket.destroy()
      fail('answered an ordinary request with an upgrade')
    })
    upstream.once('error', (cause) => fail(`does not speak HTTP, or broke off: ${cause.message}`, cause))
  })
}
