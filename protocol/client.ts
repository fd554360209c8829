/**
 * The typed client: one call a route, on `fetch`, for Node and browsers alike. Errors come back as `RclaudeError`, with
 * the request id that the gateway logged.
 */
import { z } from 'zod'
import { type ErrorCode, Problem, RclaudeError } from './errors.ts'
import { readTaskEvent, type TaskEvent } from './event.ts'
import type { AnyRoute, BodyInput, ParamNames, QueryInput, ResponseOf } from './route.ts'
import { routes } from './routes.ts'
import { readAnswer } from './unknown-words.ts'
import { OWN_PROTOCOLS, PROTOCOL_HEADER, VERSION_HEADER } from './version.ts'

export interface ClientOptions {
  /** Without a closing slash: `http://127.0.0.1:7420`. */
  baseUrl: string
  token: string
  /** The caller's release, for the gateway's log and version check. */
  version: string
  fetch?: typeof fetch
}

type Wildcard<Path> = Path extends `${string}*` ? { rest: string } : unknown
type Params<R> = R extends { path: infer Path extends string }
  ? { [Name in ParamNames<Path>]: string } & Wildcard<Path>
  : never

export interface CallOptions<R extends AnyRoute> {
  params?: Params<R>
  query?: QueryInput<R>
  body?: BodyInput<R>
  rawBody?: NonNullable<RequestInit['body']>
  headers?: Record<string, string>
  signal?: AbortSignal
}

export type Client = ReturnType<typeof createClient>

export function createClient(options: ClientOptions) {
  const fetcher = options.fetch ?? fetch
  const ownHeaders = {
    authorization: `Bearer ${options.token}`,
    [PROTOCOL_HEADER]: OWN_PROTOCOLS,
    [VERSION_HEADER]: options.version,
  }

  /** The answer as it comes, once its status is a success. */
  async function raw<R extends AnyRoute>(route: R, call: CallOptions<R> = {}): Promise<Response> {
    const url = options.baseUrl + pathOf(route, call)
    const response = await reach(url, {
      method: route.method,
      headers: {
        ...ownHeaders,
        ...(call.body !== undefined && { 'content-type': 'application/json' }),
        ...call.headers,
      },
      ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
      ...(call.rawBody !== undefined && { body: call.rawBody, duplex: 'half' }),
      ...(call.signal && { signal: call.signal }),
      redirect: 'error', // a redirect would carry the token elsewhere
    })
    if (!response.ok) throw await errorOf(response)
    return response
  }

  async function reach(url: string, init: RequestInit): Promise<Response> {
    try {
      return await fetcher(url, init)
    } catch (error) {
      if (init.signal?.aborted) throw init.signal.reason
      throw new RclaudeError('unavailable', `cannot reach the gateway at ${options.baseUrl} (${causeOf(error)})`, {
        cause: error,
      })
    }
  }

  /** The parsed JSON answer; words that a newer gateway has are left as they are. */
  async function call<R extends AnyRoute>(route: R, callOptions: CallOptions<R> = {}): Promise<ResponseOf<R>> {
    const response = await raw(route, callOptions)
    if (route.response === undefined) {
      await response.body?.cancel()
      return undefined as ResponseOf<R>
    }
    const parsed = readAnswer(route.response, await response.json())
    if (!parsed.success)
      throw new RclaudeError(
        'internal',
        `the gateway's answer to ${route.name} has an unknown shape (${placeOf(parsed.error)}): if it is another release, upgrade the older side; rclaude doctor names both`,
        {
          cause: parsed.error,
        },
      )
    return parsed.data as ResponseOf<R>
  }

  /** Events after `since`, one by one; with `follow` until the task has ended. Ends early when the connection does. */
  async function* events(
    taskId: string,
    query: { since?: number; follow?: boolean; signal?: AbortSignal } = {},
  ): AsyncGenerator<TaskEvent> {
    const response = await raw(routes.events, {
      params: { taskId },
      query: { since: query.since ?? 0, ...(query.follow && { follow: '1' }) },
      headers: { accept: 'application/x-ndjson' },
      ...(query.signal && { signal: query.signal }),
    })
    for await (const line of linesOf(response, query.signal)) {
      if (line.trim() !== '') yield readTaskEvent(JSON.parse(line))
    }
  }

  return { call, raw, events, baseUrl: options.baseUrl, headers: ownHeaders }
}

function pathOf<R extends AnyRoute>(route: R, call: CallOptions<R>): string {
  const params = (call.params ?? {}) as Record<string, string>
  const path = route.path
    .replace(/:(\w+)/g, (_: string, name: string) => encodeURIComponent(params[name] ?? ''))
    .replace(/\*$/, () => (params.rest ?? '').split('/').map(encodeURIComponent).join('/'))
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(call.query ?? {})) {
    if (value !== undefined) query.set(name, String(value))
  }
  return query.size === 0 ? path : `${path}?${query}`
}

const errorOf = async (response: Response): Promise<RclaudeError> =>
  errorFrom(response.status, response.statusText, await response.text())

/** What an answer means whose status is no success. */
export function errorFrom(status: number, statusText: string, text: string): RclaudeError {
  const code: ErrorCode = status === 401 ? 'unauthenticated' : status < 500 ? 'invalid' : 'unavailable'
  // A newer gateway may have codes that are not known here; its words are still the best there are.
  const known = Problem.extend({ code: Problem.shape.code.catch(code) })
  const problem = z.string().transform(parseJson).pipe(known).safeParse(text)
  if (problem.success) return RclaudeError.fromProblem(problem.data)
  return new RclaudeError(code, `the gateway answered ${status} ${statusText}: ${text.slice(0, 200)}`)
}

function placeOf({ issues: [first] }: z.ZodError): string {
  return first === undefined ? 'somewhere' : `${first.path.join('.') || 'all of it'}: ${first.message}`
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** @param signal heard here as well: once the collector has run, Node's fetch forgets the one that it was given */
async function* linesOf(response: Response, signal: AbortSignal | undefined): AsyncGenerator<string> {
  if (response.body === null) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const cancel = () => void reader.cancel().catch(() => {})
  signal?.addEventListener('abort', cancel, { once: true })
  let rest = ''
  try {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) break
      const lines = (rest + value).split('\n')
      rest = lines.pop() ?? ''
      yield* lines
    }
    signal?.throwIfAborted()
    if (rest !== '') yield rest
  } finally {
    signal?.removeEventListener('abort', cancel)
    await reader.cancel().catch(() => {})
  }
}

/** In a word or two: why there was no answer at all. */
export function causeOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  if (!(cause instanceof Error)) return String(cause)
  if (!('code' in cause)) return cause.message
  const code = String(cause.code)
  const why = TLS_FAILURES[code]
  return why === undefined ? code : `${code}: ${why}`
}

const UNKNOWN_AUTHORITY =
  "its certificate is signed by nobody whom this machine trusts; name your authority's PEM file in NODE_EXTRA_CA_CERTS"

/** OpenSSL's names, as Node gives them. */
const TLS_FAILURES: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  CERT_HAS_EXPIRED: "the gateway's certificate has expired, or this machine's clock is wrong",
  CERT_NOT_YET_VALID: "the gateway's certificate is not valid yet, or this machine's clock is wrong",
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name than the one in the URL',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS there; if it is to be plain http, the URL begins with http://',
}
