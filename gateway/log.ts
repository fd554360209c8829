/** The gateway's log: one JSON object a line, without anything that opens a door. */
import { destination, type Logger, pino } from 'pino'

export type { Logger }

const REDACTED = [
  'authorization',
  'token',
  'secret',
  'secrets',
  'env',
  'password',
  'joinCode',
  'credential',
  '*.authorization',
  '*.token',
  '*.secret',
  '*.secrets',
  '*.env',
  '*.password',
  '*.joinCode',
  '*.credential',
  'headers.authorization',
  'headers.cookie',
]

/** @param file a path, or 1 for standard output */
export function createLogger(level: string, file: string | number = 1): Logger {
  const lines = destination({ dest: file, sync: true })
  lines.on('error', () => {}) // a full disk costs lines, never the gateway
  const redact = { paths: REDACTED, censor: '[redacted]' }
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, redact }, lines)
}
