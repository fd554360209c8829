/** The caller's address, as the audit row shows it. */
import type { IncomingMessage } from 'node:http'

export const addressOf = (request: IncomingMessage): string => request.socket.remoteAddress ?? 'unknown'
