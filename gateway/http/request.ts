/** What Node says of a request, before Hono or without it. */
import type { IncomingMessage } from 'node:http'

/** A header that came once; `name` in lower case. */
export const headerOf = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}
