/** What whoever hands an HTTP message on from one connection to another says of it anew, and what it leaves out. */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http'

/** RFC 9110 7.6.1: these speak of one connection, not of the message. */
export const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

export const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined ||
  (headers['content-length'] !== undefined && headers['content-length'] !== '0')

/** Stated by us, from what Node's parser made of the request, never copied. */
export function framing(incoming: IncomingMessage): OutgoingHttpHeaders {
  if (!hasBody(incoming)) return { 'content-length': 0 }
  if (incoming.headers['transfer-encoding'] !== undefined) return { 'transfer-encoding': 'chunked' }
  return { 'content-length': Number(incoming.headers['content-length']) }
}

export function keep(headers: IncomingHttpHeaders, allowed: (name: string) => boolean): OutgoingHttpHeaders {
  // A header that `Connection` names belongs to the connection as well.
  const named = new Set((headers.connection ?? '').toLowerCase().split(/\s*,\s*/))
  return Object.fromEntries(Object.entries(headers).filter(([name]) => allowed(name) && !named.has(name)))
}
