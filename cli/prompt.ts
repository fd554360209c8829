/** Asking the user: a yes or no, one key of a few, or a text that is not shown. Only where `canAsk(world)` holds. */
import type { World } from './world.ts'

const CTRL_C = '\u0003'
const CTRL_D = '\u0004'

/** Ctrl-C or Ctrl-D count as no. */
export async function confirm(world: World, question: string): Promise<boolean> {
  world.stderr.write(`${question} [y/N] `)
  const key = await readKey(world, ['y', 'n', '\r', '\n'])
  world.stderr.write(`${key === 'y' ? 'yes' : 'no'}\n`)
  return key === 'y'
}

/** The key that was pressed, in lower case; undefined for Ctrl-C, Ctrl-D and when `signal` aborts. */
export function readKey(world: World, keys: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
  return raw(world, signal, (text) => {
    for (const character of text.toLowerCase()) {
      if (character === CTRL_C || character === CTRL_D) return { value: undefined }
      if (keys.includes(character)) return { value: character }
    }
    return undefined
  })
}

/** One line, not echoed; undefined for Ctrl-C. */
export async function askHidden(world: World, question: string): Promise<string | undefined> {
  world.stderr.write(question)
  let line = ''
  const answer = await raw(world, undefined, (text) => {
    for (const character of text) {
      if (character === CTRL_C) return { value: undefined }
      if (character === '\r' || character === '\n' || character === CTRL_D) return { value: line }
      if (character === '\u007f' || character === '\b') line = line.slice(0, -1)
      else if (character >= ' ') line += character
    }
    return undefined
  })
  world.stderr.write('\n')
  return answer
}

function raw<Value>(
  world: World,
  signal: AbortSignal | undefined,
  take: (text: string) => { value: Value | undefined } | undefined,
): Promise<Value | undefined> {
  const { stdin } = world
  return new Promise((resolve) => {
    const finish = (value: Value | undefined) => {
      stdin.off('data', onData)
      stdin.off('end', onEnd)
      signal?.removeEventListener('abort', onEnd)
      stdin.setRawMode(false)
      stdin.pause()
      resolve(value)
    }
    const onData = (chunk: Buffer) => {
      const taken = take(chunk.toString())
      if (taken !== undefined) finish(taken.value)
    }
    const onEnd = () => finish(undefined)
    stdin.setRawMode(true)
    stdin.on('data', onData)
    stdin.once('end', onEnd)
    signal?.addEventListener('abort', onEnd)
    stdin.resume()
  })
}

/** All of standard input as text, without the last newline. */
export async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}
