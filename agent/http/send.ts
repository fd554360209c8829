/**
 * Streams an answer straight to Node's response, for what a `Response` cannot do: trailers, and a connection that is
 * cut when the rest of an answer cannot be given, so that it is never taken for the end.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import { RclaudeError } from '../../protocol/errors.ts'

export type AgentEnv = { Bindings: HttpBindings }

export interface Answer {
  /** Fires when the client is gone before the answer's end. */
  readonly signal: AbortSignal
  /** Resolves when the client's side has room for more; at once when the client is gone. */
  write(bytes: Buffer | string): Promise<void>
  /** Resolves when nothing needs `bytes` any more, so that the buffer can be used again; at once when the client is gone. */
  handOn(bytes: Buffer): Promise<void>
}

/** Answers with what `body` writes; when it throws, the connection is cut. `body` returns trailers, if any. */
export async function stream(
  c: Context<AgentEnv>,
  headers: Record<string, string>,
  body: (answer: Answer) => Promise<Record<string, string> | undefined>,
  status = 200,
): Promise<Response> {
  const { outgoing } = c.env
  const response = outgoing as ServerResponse // the agent speaks HTTP/1.1 only
  const gone = new AbortController()
  const onClose = () => {
    if (!response.writableFinished) gone.abort(new Error('the client is gone'))
  }
  response.on('close', onClose)
  response.writeHead(status, headers)
  response.flushHeaders()
  try {
    const trailers = await body({
      signal: gone.signal,
      write: (bytes) => write(response, bytes, gone.signal),
      handOn: (bytes) => handOn(response, bytes, gone.signal),
    })
    if (trailers !== undefined) response.addTrailers(trailers)
    response.end()
  } catch {
    response.destroy()
  } finally {
    response.off('close', onClose)
  }
  return RESPONSE_ALREADY_SENT
}

/**
 * The bytes of the request's body. Leaving the loop early keeps the connection, so that an error can be answered.
 * @throws RclaudeError `invalid` when the client vanishes before the end
 */
export async function* uploadOf(c: Context<AgentEnv>): AsyncGenerator<Buffer, void, undefined> {
  const incoming = c.env.incoming as IncomingMessage
  const chunks: AsyncIterator<Buffer> = incoming.iterator({ destroyOnReturn: false })
  for (;;) {
    const next = await chunks.next().catch((error: unknown) => {
      throw new RclaudeError('invalid', 'the upload was cut short', { cause: error })
    })
    if (next.done) return
    yield next.value
  }
}

async function write(response: ServerResponse, bytes: Buffer | string, signal: AbortSignal): Promise<void> {
  if (signal.aborted || bytes.length === 0 || response.write(bytes)) return
  await untilCalled(signal, (done) => {
    response.once('drain', done)
    return () => response.off('drain', done)
  })
}

async function handOn(response: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  if (signal.aborted || bytes.length === 0) return
  await untilCalled(signal, (done) => {
    response.write(bytes, done)
  })
}

/** Resolves when `begin` calls `done`, or on `signal`; in the end it calls what `begin` returned. */
function untilCalled(signal: AbortSignal, begin: (done: () => void) => (() => void) | undefined): Promise<void> {
  return new Promise<void>((resolve) => {
    let cleanUp: (() => void) | undefined
    const done = () => {
      cleanUp?.()
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done, { once: true })
    cleanUp = begin(done)
  })
}
