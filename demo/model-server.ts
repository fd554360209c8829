/**
 * A model server on loopback that says what a script says. The real Claude Code talks to it as to the Anthropic Messages
 * API, so it really runs its tools on real files, and nothing leaves the machine.
 *
 * A request with tools is the conversation: the script answers it. One without is a side request and gets a stock
 * answer. Everything is recorded, so that a test can say what was asked.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { type Conversation, MessagesRequest, readConversation } from './model/conversation.ts'
import type { Reply, Script } from './model/reply.ts'
import { answerOther, answerSideRequest, isSideRequest } from './model/side-requests.ts'
import { type ReplyContext, writeError, writeMessage } from './model/stream.ts'

export type { Conversation, ToolCall } from './model/conversation.ts'
export { bash, fail, hang, type Reply, type Script, say, steps, use } from './model/reply.ts'

/** Largest request body taken, as the real API has it. */
const MAX_REQUEST_BYTES = 32 * 1024 * 1024

export interface RecordedRequest {
  method: string
  /** Without the query. */
  path: string
  headers: IncomingHttpHeaders
  kind: 'conversation' | 'side' | 'other'
  /** Present for kind `conversation`. */
  conversation?: Conversation
  reply?: Reply
}

export interface ModelServer {
  /** For `ANTHROPIC_BASE_URL`. */
  readonly url: string
  /** Everything asked so far, oldest first. */
  readonly requests: RecordedRequest[]
  /** Ends open streams as well. */
  close(): Promise<void>
}

export async function startModelServer(options: { script: Script; port?: number }): Promise<ModelServer> {
  const requests: RecordedRequest[] = []
  const attempts = new Map<string, number>()
  const closing = new AbortController()

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (closing.signal.aborted || response.destroyed || response.headersSent) return void response.destroy()
      writeError(response, { kind: 'error', status: 500, message: `the script failed: ${String(error)}` })
    })
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? 'GET'
    const path = (request.url ?? '/').replace(/\?.*$/s, '')
    const recorded: RecordedRequest = { method, path, headers: request.headers, kind: 'other' }
    requests.push(recorded)
    const body = await readBody(request)
    if (method !== 'POST' || path !== '/v1/messages') return answerOther(response, method, path)

    const parsed = MessagesRequest.safeParse(JSON.parse(body))
    if (!parsed.success) return writeError(response, { kind: 'error', status: 400, message: parsed.error.message })
    const { model, messages, stream = false } = parsed.data
    const context: ReplyContext = { number: requests.length, model, stream, signal: closing.signal }
    recorded.kind = isSideRequest(parsed.data) ? 'side' : 'conversation'
    if (recorded.kind === 'side') return answerSideRequest(response, parsed.data, context)

    recorded.conversation = readConversation(parsed.data, countAttempt(attempts, JSON.stringify(messages)))
    recorded.reply = options.script(recorded.conversation)
    await carryOut(response, recorded.reply, context)
  }

  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the model server has no port')

  return {
    url: `http://127.0.0.1:${address.port}`,
    requests,
    async close() {
      closing.abort()
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

async function carryOut(response: ServerResponse, reply: Reply, context: ReplyContext): Promise<void> {
  switch (reply.kind) {
    case 'message':
      return writeMessage(response, reply, context)
    case 'error':
      return writeError(response, reply)
    case 'hang':
      return // the client's patience, or close(), ends it
    default:
      return reply satisfies never
  }
}

function countAttempt(attempts: Map<string, number>, messages: string): number {
  const key = createHash('sha256').update(messages).digest('hex')
  const attempt = (attempts.get(key) ?? 0) + 1
  attempts.set(key, attempt)
  return attempt
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    const bytes: Buffer = chunk
    size += bytes.length
    if (size > MAX_REQUEST_BYTES) throw new Error(`the request is larger than ${MAX_REQUEST_BYTES} bytes`)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}
