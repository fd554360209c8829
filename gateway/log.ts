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
export const createLogger = (level: string, file: string | number = 1): Logger =>
  pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, redact: { paths: REDACTED, censor: '[redacted]' } },
    destination({ dest: file, sync: true }),
  )
