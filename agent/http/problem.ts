/** Errors of the agent's API as RFC 9457 problem documents: in Hono's `onError`, and where an upgrade is refused. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ErrorHandler } from 'hono'
import type { z } from 'zod'
import { invalid, type Problem, RclaudeError } from '../../protocol/errors.ts'

/** The gateway's id for the request, so that its log and ours can be joined. */
export const REQUEST_ID_HEADER = 'rclaude-request-id'

const TYPE = 'application/problem+json'

export interface ProblemOptions {
  /** Told of what is no `RclaudeError`: a fault of ours, whose text the client does not get. */
  onFault?: (error: unknown) => void
}

/** For `app.onError`. */
export function onProblem(options: ProblemOptions = {}): ErrorHandler {
  return (error, c) => {
    const problem = problemOf(error, options, c.req.header(REQUEST_ID_HEADER))
    return Response.json(problem, { status: problem.status, headers: { 'content-type': TYPE } })
  }
}

/** Answers an upgrade request with the error and closes it. */
export function refuseUpgrade(socket: Duplex, error: unknown, options: ProblemOptions = {}): void {
  const problem = problemOf(error, options)
  const body = JSON.stringify(problem)
  socket.on('error', () => {}) // the client may be gone
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Error'}\r\n` +
      `content-type: ${TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

/** @throws RclaudeError `invalid` that lists what is wrong */
export function parse<S extends z.ZodType>(what: string, schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw invalid(what, parsed.error)
  return parsed.data
}

/** A request's JSON body. @throws RclaudeError `invalid` */
export async function parseBody<S extends z.ZodType>(request: Request, schema: S): Promise<z.output<S>> {
  let value: unknown
  try {
    value = await request.json()
  } catch (error) {
    throw new RclaudeError('invalid', 'the request body is not JSON', { cause: error })
  }
  return parse('the request body', schema, value)
}

function problemOf(error: unknown, options: ProblemOptions, requestId?: string): Problem {
  if (error instanceof RclaudeError) return error.toProblem(requestId ?? error.requestId)
  options.onFault?.(error)
  return new RclaudeError('internal', 'the agent failed to serve this request; its log has the details').toProblem(
    requestId,
  )
}
