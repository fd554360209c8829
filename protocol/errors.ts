/**
 * The one error class, its closed list of codes, and the one table that says what each code is as an HTTP status and as
 * a CLI exit code. On the wire an error is an RFC 9457 problem document (`application/problem+json`) with `code` and
 * `requestId` added.
 */
import { z } from 'zod'
import type { Outcome } from './outcome.ts'

interface CodeMeaning {
  status: number
  title: string
}

export const ERROR_CODES = {
  invalid: { status: 400, title: 'The request is not valid' },
  program_missing: { status: 400, title: 'There is no such program' },
  program_refused: { status: 400, title: 'The program cannot be executed' },
  unauthenticated: { status: 401, title: 'No valid token' },
  forbidden: { status: 403, title: 'The token may not do this' },
  not_found: { status: 404, title: 'Not found' },
  conflict: { status: 409, title: 'Not possible in the present state' },
  gone: { status: 410, title: 'It is gone for good' },
  precondition: { status: 412, title: 'It is not as the request expects' },
  too_large: { status: 413, title: 'Too large' },
  unsupported: { status: 415, title: 'Not supported' },
  model_auth_missing: { status: 422, title: 'No model credentials' },
  model_auth_refused: { status: 422, title: 'The model refused the credentials' },
  version_mismatch: { status: 426, title: 'Versions do not match' },
  limit: { status: 429, title: 'A limit is reached' },
  internal: { status: 500, title: 'A fault of rclaude' },
  agent_failed: { status: 502, title: 'The agent did not answer properly' },
  port_refused: { status: 502, title: 'Nothing answers on this port' },
  agent_offline: { status: 503, title: 'The task has no agent connected' },
  unavailable: { status: 503, title: 'Not available now' },
  agent_timeout: { status: 504, title: 'The agent did not answer in time' },
  disk_full: { status: 507, title: 'The disk is full' },
} as const satisfies Record<string, CodeMeaning>

export type ErrorCode = keyof typeof ERROR_CODES
export const ErrorCode = z.enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]])

/** RFC 9457. `detail` says what, which one and what to do next; `issues` lists the places of an invalid body. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: ErrorCode,
  requestId: z.string().optional(),
  retryAfterSeconds: z.number().optional(),
  issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
})
export type Problem = z.infer<typeof Problem>

export class RclaudeError extends Error {
  override readonly name = 'RclaudeError'
  readonly code: ErrorCode
  readonly retryAfterSeconds: number | undefined
  readonly issues: Problem['issues']
  requestId: string | undefined

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; retryAfterSeconds?: number; issues?: Problem['issues']; requestId?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryAfterSeconds = options.retryAfterSeconds
    this.issues = options.issues
    this.requestId = options.requestId
  }

  get status(): number {
    return ERROR_CODES[this.code].status
  }

  toProblem(requestId?: string): Problem {
    const meaning = ERROR_CODES[this.code]
    return {
      type: `https://rclaude.dev/errors/${this.code}`,
      title: meaning.title,
      status: meaning.status,
      detail: this.message,
      code: this.code,
      ...(requestId !== undefined && { requestId }),
      ...(this.retryAfterSeconds !== undefined && { retryAfterSeconds: this.retryAfterSeconds }),
      ...(this.issues !== undefined && { issues: this.issues }),
    }
  }

  static fromProblem(problem: Problem): RclaudeError {
    return new RclaudeError(problem.code, problem.detail, {
      ...(problem.requestId !== undefined && { requestId: problem.requestId }),
      ...(problem.retryAfterSeconds !== undefined && { retryAfterSeconds: problem.retryAfterSeconds }),
      ...(problem.issues !== undefined && { issues: problem.issues }),
    })
  }
}

/** An invalid value with every place that is wrong, for `RclaudeError('invalid')`. */
export function invalid(what: string, error: z.ZodError): RclaudeError {
  const issues = error.issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message }))
  const first = issues[0]
  const where = first === undefined ? '' : `: ${first.path === '' ? '' : `${first.path}: `}${first.message}`
  return new RclaudeError('invalid', `${what} is not valid${where}`, { issues, cause: error })
}

/** What the CLI exits with. `exec` passes the process's own code on; 128+n is a signal, as in a shell. */
export const EXIT_CODES = {
  succeeded: 0,
  failed: 1,
  usage: 2,
  blocked: 3,
  no_changes: 4,
  budget: 5,
  interrupted: 6,
  lost: 7,
  check_failed: 8,
  conflict: 9,
  timeout: 124,
  internal: 125,
  program_refused: 126,
  program_missing: 127,
  cancelled: 130,
} as const satisfies Record<
  Outcome | 'usage' | 'check_failed' | 'conflict' | 'internal' | 'program_refused' | 'program_missing',
  number
>

/** `usage` for what the user can mend by calling differently, 125 for everything else that is not an outcome. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof RclaudeError && error.code === 'invalid') return EXIT_CODES.usage
  return EXIT_CODES.internal
}
