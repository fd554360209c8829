/** The client of every row: connects over TCP, says what it has to say, and counts the bytes that come. */
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { serve } from './serve.ts'

export interface ReadRequest {
  port: number
  /** Sent first on each connection: an HTTP request; the bytes are then counted from the answer's body on. */
  request?: string
  /** Of each connection. */
  bytes: number
  connections: number
}

export interface ReadResult {
  ms: number
}

export type ReaderCalls = {
  read(request: ReadRequest): Promise<ReadResult>
}

const READ_BYTES = 256 * 1024
const SILENCE_MS = 30_000
const HEAD_END = Buffer.from('\r\n\r\n')

async function read(request: ReadRequest): Promise<ReadResult> {
  const start = performance.now()
  await Promise.all(Array.from({ length: request.connections }, () => readOne(request)))
  return { ms: performance.now() - start }
}

function readOne({ port, request, bytes }: ReadRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    let counted = 0
    let head: Buffer | undefined = request === undefined ? undefined : Buffer.alloc(0)
    const socket = connect({
      port,
      host: '127.0.0.1',
      // One buffer for all: what arrives is counted, not kept.
      onread: {
        buffer: Buffer.allocUnsafe(READ_BYTES),
        callback(length, buffer) {
          counted += head === undefined ? length : bodyIn(Buffer.from(buffer.subarray(0, length)))
          if (counted >= bytes) finish()
          return true
        },
      },
    })
    socket.setTimeout(SILENCE_MS, () =>
      finish(new Error(`${counted} of ${bytes} bytes came, then nothing for ${SILENCE_MS} ms`)),
    )
    socket.once('error', finish)
    socket.once('end', () => finish(new Error(`the connection ended after ${counted} of ${bytes} bytes`)))
    if (request !== undefined) socket.write(request)

    function bodyIn(piece: Buffer): number {
      head = Buffer.concat([head ?? Buffer.alloc(0), piece])
      const end = head.indexOf(HEAD_END)
      if (end < 0) return 0
      const status = head.subarray(0, 12).toString('latin1')
      if (!/ 20[06]$/.test(status)) finish(new Error(`the answer was ${head.subarray(0, 400).toString('latin1')}`))
      const body = head.length - end - HEAD_END.length
      head = undefined
      return body
    }

    function finish(error?: Error): void {
      socket.destroy()
      if (error) reject(error)
      else resolve()
    }
  })
}

serve({ read } satisfies ReaderCalls)
