/** Lines of a program's output, read no faster than they are consumed and bounded in length. */
import type { Readable } from 'node:stream'

/** A line, or the size of one that was longer than allowed and is left out. */
export type Line = { text: string } | { droppedBytes: number }

const NEWLINE = 0x0a

/** Decodes whole lines only, so a character is never cut. Ends with the stream, also when it was destroyed. */
export async function* readLines(stream: Readable, maxBytes: number): AsyncGenerator<Line> {
  let parts: Buffer[] = []
  let size = 0
  const take = (): Line => {
    const line = size > maxBytes ? { droppedBytes: size } : { text: Buffer.concat(parts).toString('utf8') }
    parts = []
    size = 0
    return line
  }
  const add = (part: Buffer) => {
    size += part.length
    if (size <= maxBytes) parts.push(part)
    else parts = [] // too long: from here on only counted
  }
  try {
    for await (const chunk of stream) {
      let rest: Buffer = chunk
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        add(rest.subarray(0, end))
        rest = rest.subarray(end + 1)
        yield take()
      }
      if (rest.length > 0) add(rest)
    }
  } catch (error) {
    if (!isDestroyed(error)) throw error
  }
  if (size > 0) yield take()
}

/** What a stream says when someone destroyed it while it was being read. */
function isDestroyed(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE'
}

/** Keeps the last `maxBytes` of a stream and lets the rest go: nobody waits for it. */
export function keepTail(stream: Readable, maxBytes: number): () => string {
  let tail = Buffer.alloc(0)
  stream.on('data', (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk]).subarray(-maxBytes)
  })
  return () => tail.toString('utf8').trim()
}
