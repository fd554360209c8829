/**
 * Requests to the far folder's agent, by way of the gateway, with node:http: `fetch` costs as much to load as a whole sync of
 * what did not change, and streams large bodies slowly. What comes back is bytes, or an error as the typed client gives it.
 */
import { once } from 'node:events'
import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import { request as plainRequest } from 'node:http'
import { BlockWriter } from '../../host/tree/frames.ts'
import { type Client, causeOf, errorFrom } from '../../protocol/client.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { AnyRoute } from '../../protocol/route.ts'
import { EXPIRES_HEADER } from '../../protocol/version.ts'
import { refusalText } from '../refusal.ts'

/** Without a byte of an answer that has begun, or of one that is awaited, the connection is dead. */
const SILENCE_MS = 120_000
/** What waits to be sent: enough for the gateway to be busy while we read the next files. */
const QUEUED_BYTES = 1024 ** 2

export type Body = { type: string; content: string | ((out: BlockWriter) => Promise<void>) }
export type Ask = (route: AnyRoute, body: Body, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>

export interface AskOptions {
  client: Pick<Client, 'baseUrl' | 'headers'>
  taskId: string
  /** Through a proxy. */
  agent?: Agent | undefined
  /** Told when the token ends, with each answer that says it. */
  onExpiry?(at: string): void
  silenceMs?: number
}

export function asking({ client, taskId, agent, onExpiry, silenceMs = SILENCE_MS }: AskOptions): Ask {
  return async (route, body, signal) => {
    signal.throwIfAborted()
    const url = new URL(client.baseUrl + route.path.replace(':taskId', taskId))
    const isSecure = url.protocol === 'https:'
    const request = (isSecure ? (await import('node:https')).request : plainRequest)(url, {
      method: route.method,
      headers: { ...client.headers, 'content-type': body.type },
      signal,
      ...(agent && { agent }),
    })
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve)
      request.on('error', (cause) =>
        reject(
          signal.aborted
            ? signal.reason
            : new RclaudeError('unavailable', `cannot reach the gateway at ${client.baseUrl} (${causeOf(cause)})`, {
                cause,
              }),
        ),
      )
    })
    request.setTimeout(silenceMs, () => request.destroy(new Error(`nothing was heard for ${silenceMs / 1000} s`)))
    if (typeof body.content === 'string') request.end(body.content)
    else feed(request, body.content).catch((error) => request.destroy(error))
    const response = await answer
    const expiresAt = response.headers[EXPIRES_HEADER]
    if (typeof expiresAt === 'string') onExpiry?.(expiresAt)
    if (response.statusCode === 200) return bytesOf(response, signal)
    const refusal = await refusalText(response)
    request.destroy() // what was still to be sent is not wanted
    throw errorFrom(response.statusCode ?? 0, response.statusMessage ?? '', refusal)
  }
}

async function feed(request: ClientRequest, content: (out: BlockWriter) => Promise<void>): Promise<void> {
  const out = new BlockWriter((block) =>
    request.write(block) || request.writableLength < QUEUED_BYTES ? undefined : roomIn(request),
  )
  await content(out)
  await out.end()
  request.end()
}

/** @throws when the connection is over before there is room */
async function roomIn(request: ClientRequest): Promise<void> {
  const over = new AbortController()
  const end = () => over.abort(new Error('the connection is over'))
  request.once('close', end)
  try {
    await once(request, 'drain', { signal: over.signal })
  } finally {
    request.off('close', end)
  }
}

/** A connection that breaks is told apart from what our own disk says. */
async function* bytesOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const chunks: AsyncIterator<Buffer> = response[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await chunks.next().catch((cause: unknown) => {
        signal.throwIfAborted()
        throw new RclaudeError('unavailable', 'the connection to the gateway was lost', { cause })
      })
      if (next.done) return
      yield next.value
    }
  } finally {
    response.destroy()
  }
}
