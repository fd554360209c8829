/** Our own upgrade of a stream to an agent: only a valid 101 opens it, and a refusal is read as what it says. */
import { createHash } from 'node:crypto'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import { type ErrorCode, Problem, RclaudeError } from '../../protocol/errors.ts'
import { requestOver } from '../../tunnel/http.ts'

/** Until the agent has answered. */
const HANDSHAKE_TIMEOUT_MS = 10_000
/** RFC 6455 1.3 */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** What an agent may answer in its own name. The rest would be taken for the gateway's word, or be tried again. */
const PASSED_ON: ReadonlySet<ErrorCode> = new Set([
  'invalid',
  'program_missing',
  'program_refused',
  'port_refused',
  'forbidden',
  'not_found',
  'conflict',
  'gone',
  'limit',
])
/** Longest refusal of an agent that is passed on. */
const MAX_REFUSAL = 4_096

export interface AgentSide {
  stream: Duplex
  /** What came behind the answer. */
  head: Buffer
  headers: IncomingMessage['headers']
}

export const acceptOf = (key: string): string =>
  createHash('sha1')
    .update(key + WEBSOCKET_GUID)
    .digest('base64')

/** @param isValid judges the 101's headers */
export function shakeHands(
  stream: Duplex,
  path: string,
  headers: OutgoingHttpHeaders,
  isValid: (headers: IncomingMessage['headers']) => boolean,
): Promise<AgentSide> {
  const upstream = requestOver(stream, { method: 'GET', path, headers: { ...headers, connection: 'Upgrade' } })
  return new Promise((resolve, reject) => {
    const fail = (error: RclaudeError) => {
      clearTimeout(timer)
      upstream.destroy()
      reject(error)
    }
    const timer = setTimeout(
      () => fail(new RclaudeError('agent_timeout', `the agent did not answer within ${HANDSHAKE_TIMEOUT_MS / 1000} s`)),
      HANDSHAKE_TIMEOUT_MS,
    )
    upstream.once('upgrade', (response, agentSocket, agentHead) => {
      if (!isValid(response.headers))
        return fail(new RclaudeError('agent_failed', "the agent's WebSocket handshake is not valid"))
      clearTimeout(timer)
      resolve({ stream: agentSocket, head: agentHead, headers: response.headers })
    })
    upstream.once('response', (response) => {
      refusalOf(response).then(fail, (cause: Error) =>
        fail(new RclaudeError('agent_failed', `the agent refused, and broke off: ${cause.message}`, { cause })),
      )
    })
    upstream.once('error', (cause) =>
      fail(new RclaudeError('agent_failed', `the connection to the agent broke: ${cause.message}`, { cause })),
    )
    upstream.end()
  })
}

async function refusalOf(response: IncomingMessage): Promise<RclaudeError> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_REFUSAL) break
  }
  const problem = Problem.safeParse(parsed(text))
  const detail = problem.success ? problem.data.detail : `status ${response.statusCode}`
  const code = problem.success && PASSED_ON.has(problem.data.code) ? problem.data.code : 'agent_failed'
  // Of a port it is the work that refuses; the agent only tells.
  const who = code === 'port_refused' ? '' : 'the agent refused: '
  return new RclaudeError(code, `${who}${detail.slice(0, 500)}`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
