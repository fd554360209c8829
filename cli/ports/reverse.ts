/**
 * A port of the task that leads here: the task's agent listens, tells of each connection, and we carry it to the local
 * port. The listener there is as long-lived as our WebSocket; when that is lost we ask for it anew.
 */
import { connect } from 'node:net'
import { RclaudeError } from '../../protocol/errors.ts'
import type { ConnectionId } from '../../protocol/ids.ts'
import { LISTEN_PROTOCOL, ListenMessage, PORT_RESUME_MS } from '../../protocol/port.ts'
import { Retries } from '../attach/retry.ts'
import { carry } from './carry.ts'
import { Link, type Way } from './link.ts'
import type { ReverseSpec } from './spec.ts'

const RETRY = { minMs: 100, maxMs: 5_000, giveUpMs: 10 * PORT_RESUME_MS }

export interface ReverseOptions {
  way: Way
  spec: ReverseSpec
  /** Where the local port is. */
  address: string
  signal: AbortSignal
  /** At the first time, and after each loss. */
  onListening(port: number): void
  onLost(error: Error): void
  onNote(text: string): void
}

/** Until `signal`. @throws {RclaudeError} what the agent refused with, such as a port that is taken */
export async function reverse(options: ReverseOptions): Promise<void> {
  const { signal } = options
  const retries = new Retries(RETRY, Math.random, Date.now)
  let port = options.spec.remote
  while (!signal.aborted) {
    const link = new Link(options.way, `/ports/${port}/listen`, LISTEN_PROTOCOL, {
      onOpen: () => {},
      onMessage: (message, isBinary) => {
        const said = isBinary ? undefined : readMessage(message)
        if (said === undefined) return link.close(1002, 'unknown message')
        if (said.type === 'accepted') return void bring(said.connection, options)
        port = said.port // a free one that was chosen is asked for again
        retries.reset()
        options.onListening(port)
      },
    })
    const stop = () => link.close()
    signal.addEventListener('abort', stop, { once: true })
    const end = await link.ended
    signal.removeEventListener('abort', stop)
    if (signal.aborted) return
    // Just after a loss the old listener may still hold the port.
    const isOurs = end.error instanceof RclaudeError && end.error.code === 'conflict' && retries.attempt > 0
    if (end.kind === 'refused' && !isOurs) throw end.error
    options.onLost(end.error)
    const next = retries.next()
    if (next === undefined) throw new RclaudeError('unavailable', end.error.message, { cause: end.error })
    await sleep(next.delayMs, signal)
  }
}

async function bring(id: ConnectionId, { way, spec, address, signal, onNote }: ReverseOptions): Promise<void> {
  const socket = connect({ host: address, port: spec.local, allowHalfOpen: true })
  socket.once('error', (error: NodeJS.ErrnoException) => {
    if (error.syscall === 'connect') onNote(`nothing answers on port ${spec.local} here (${error.code})`)
  })
  await carry(socket, { way, to: id, signal })
}

function readMessage(message: Buffer): ListenMessage | undefined {
  try {
    return ListenMessage.parse(JSON.parse(message.toString('utf8')))
  } catch {
    return undefined
  }
}

/** Resolves early when `signal` fires. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}
