// How the two ends agree on which session a new connection goes on with, in the headers of the upgrade and of its 101.
//
//   dialler   Rclaude-Tunnel-Session: new | <id>    101   Rclaude-Tunnel-Session: <id>
//             Rclaude-Tunnel-Epoch: 7                     Rclaude-Tunnel-Received: 4711
//             Rclaude-Tunnel-Received: 0815
//
// The accepting end makes the ids. An id in the 101 that is not the one asked for is a new session: the old one is not
// known (any more), and what it held is lost. The epoch counts dials: a dial that was delayed on its way and arrives after
// a later one must not take the session back. An end that does not send these headers gets a tunnel without resume.

import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { protocolError } from './errors.ts'

export const RESUME_HEADERS = {
  session: 'rclaude-tunnel-session',
  epoch: 'rclaude-tunnel-epoch',
  received: 'rclaude-tunnel-received',
} as const

export interface ResumeAsk {
  /** Undefined asks for a new one. */
  readonly session: string | undefined
  readonly epoch: number
  readonly received: number
}

export interface ResumeAnswer {
  readonly session: string
  readonly received: number
}

/** 128 bits that nobody guesses. */
export const newSessionId = (): string => randomBytes(16).toString('base64url')

export function askHeaders({ session = 'new', epoch, received }: ResumeAsk): Record<string, string> {
  return { ...answerHeaders({ session, received }), [RESUME_HEADERS.epoch]: `${epoch}` }
}

export function answerHeaders({ session, received }: ResumeAnswer): Record<string, string> {
  return { [RESUME_HEADERS.session]: session, [RESUME_HEADERS.received]: `${received}` }
}

/** Undefined when the other end knows no resume; throws a protocol error for what can't be read. */
export function parseAsk(headers: IncomingHttpHeaders): ResumeAsk | undefined {
  const session = headers[RESUME_HEADERS.session]
  if (session === undefined) return undefined
  const epoch = parseCount(headers[RESUME_HEADERS.epoch])
  const received = parseCount(headers[RESUME_HEADERS.received])
  if ((session !== 'new' && !isId(session)) || epoch === undefined || received === undefined)
    throw protocolError('the headers that ask for a tunnel session cannot be read')
  return { session: session === 'new' ? undefined : `${session}`, epoch, received }
}

/** Undefined when the other end knows no resume; throws a protocol error for what can't be read. */
export function parseAnswer(headers: IncomingHttpHeaders): ResumeAnswer | undefined {
  const session = headers[RESUME_HEADERS.session]
  if (session === undefined) return undefined
  const received = parseCount(headers[RESUME_HEADERS.received])
  if (!isId(session) || received === undefined)
    throw protocolError('the headers that answer with a tunnel session cannot be read')
  return { session: `${session}`, received }
}

/** A count in decimal digits as we write it, or undefined. */
export function parseCount(text: string | string[] | undefined): number | undefined {
  if (typeof text !== 'string' || !/^(0|[1-9]\d{0,15})$/.test(text)) return undefined
  const count = Number(text)
  return Number.isSafeInteger(count) ? count : undefined
}

const isId = (text: string | string[]): boolean => typeof text === 'string' && /^[\w-]{22}$/.test(text)
