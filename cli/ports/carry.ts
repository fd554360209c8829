/**
 * Carries one local connection to a port of the task, or to us from there, until both halves have ended. A lost WebSocket
 * is dialled again and the bytes go on where they were: local programs see a pause.
 */
import type { Socket } from 'node:net'
import { tcpEnd } from '../../host/tcp-end.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { type ConnectionId, newConnectionId } from '../../protocol/ids.ts'
import { PORT_PROTOCOL, PORT_RESUME_MS } from '../../protocol/port.ts'
import { PortPipe } from '../../protocol/port-pipe.ts'
import { Retries } from '../attach/retry.ts'
import type { ConnectionEnd } from '../web-socket.ts'
import { Link, type Way } from './link.ts'

/** A port of the task's loopback, or of a host that the task allows. */
export interface Remote {
  port: number
  host?: string | undefined
}

export interface CarryOptions {
  way: Way
  /** Where it leads; or the id of a connection that the task's listener accepted. */
  to: Remote | ConnectionId
  /** Gives it up, and resets both ends. */
  signal: AbortSignal
  /** The first WebSocket is there: the task's port has answered. */
  onOpen?: () => void
  /** A WebSocket is there, the first or another. */
  onLinked?: () => void
  /** It never came to be; what is written to the socket now is delivered before that is closed. */
  onRefused?: (error: Error) => void
  onLost?: (error: Error) => void
}

/** An agent that has nobody for so long has reset it. */
const RETRY = { minMs: 50, maxMs: 2_000, giveUpMs: PORT_RESUME_MS }

/** @returns undefined when it ended well or one of its ends broke it, else why it could not be carried */
export async function carry(socket: Socket, options: CarryOptions): Promise<Error | undefined> {
  const { signal, to } = options
  const id = typeof to === 'string' ? to : newConnectionId()
  const retries = new Retries(RETRY, Math.random, Date.now)
  let hasStarted = typeof to === 'string'
  let isOver = false
  let link: Link | undefined
  const wakers = new Set<() => void>()
  const finish = () => {
    isOver = true
    for (const wake of wakers) wake()
  }
  const pipe: PortPipe = new PortPipe(
    tcpEnd(socket, {
      onData: (bytes) => pipe.onData(bytes),
      onEnd: () => pipe.onEnd(),
      onFailed: () => {
        pipe.onFailed()
        if (!hasStarted) pipe.abandon() // nobody there knows of it
      },
    }),
    finish,
  )
  const giveUp = () => pipe.abandon()
  signal.addEventListener('abort', giveUp, { once: true })
  if (signal.aborted) giveUp()
  try {
    while (!isOver) {
      link = dial()
      const end = await link.ended
      pipe.disconnect()
      if (isOver) return undefined
      if (end.kind === 'refused') return refused(end.error)
      options.onLost?.(end.error)
      const next = retries.next()
      if (next === undefined) return refused(new RclaudeError('unavailable', end.error.message, { cause: end.error }))
      await sleep(next.delayMs)
    }
    return undefined
  } finally {
    signal.removeEventListener('abort', giveUp)
    if (!isOver) pipe.abandon()
  }

  function dial(): Link {
    const dialled: Link = new Link(
      options.way,
      hasStarted ? `/connections/${id}` : pathOf(to as Remote, id),
      PORT_PROTOCOL,
      {
        onOpen: () => {
          if (!hasStarted) options.onOpen?.()
          options.onLinked?.()
          hasStarted = true
          retries.reset()
          pipe.connect(dialled)
        },
        onMessage: (message, isBinary) => pipe.receive(isBinary ? message : new Uint8Array(0)),
      },
    )
    const over = () => dialled.drop(new Error('it is over'))
    wakers.add(over)
    void dialled.ended.then(() => wakers.delete(over))
    return dialled
  }

  function refused(error: ConnectionEnd['error']): Error | undefined {
    if (!hasStarted && options.onRefused !== undefined) {
      isOver = true
      options.onRefused(error)
      socket.destroySoon()
      return error
    }
    const wasWhole = pipe.isWhole
    pipe.abandon()
    return wasWhole ? undefined : error
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        wakers.delete(done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      wakers.add(done)
    })
  }
}

const pathOf = ({ port, host }: Remote, id: ConnectionId): string =>
  `/ports/${port}?id=${id}${host === undefined ? '' : `&host=${encodeURIComponent(host)}`}`
