// A transport over any Node Duplex: a TCP or unix socket, a pipe, or one end of `stream.duplexPair()` in tests.

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { CLOSE_TIMEOUT_MS, type Transport, type TransportReceiver } from './transport.ts'

export function duplexTransport(duplex: Duplex): Transport {
  let receiver: TransportReceiver | undefined
  let failure: Error | undefined
  let peerEnded = false
  // Frames are gathered already; Nagle's algorithm on top costs 40 ms per small exchange.
  if (duplex instanceof Socket) duplex.setNoDelay(true)
  duplex.on('error', (error: Error) => {
    failure ??= error
  })
  const closed = new Promise<void>((resolve) => {
    duplex.once('close', () => {
      resolve()
      reportEnd()
    })
  })

  return {
    start(to) {
      receiver = to
      duplex.on('data', (bytes: Buffer) => to.onBytes(bytes))
      duplex.on('drain', () => to.onDrain())
      // A peer that ended its half can't be answered in a useful way: the whole pipe is over.
      duplex.on('end', () => {
        peerEnded = true
        duplex.destroy()
      })
      if (duplex.destroyed) queueMicrotask(reportEnd)
    },
    write: (bytes) => (duplex.writable ? duplex.write(bytes) : true),
    async close() {
      const timer = setTimeout(() => duplex.destroy(), CLOSE_TIMEOUT_MS)
      duplex.end(() => duplex.destroy())
      await closed
      clearTimeout(timer)
    },
    destroy() {
      duplex.destroy()
    },
  }

  function reportEnd(): void {
    const to = receiver
    if (to === undefined || !duplex.closed) return
    receiver = undefined
    to.onClose({ clean: peerEnded && failure === undefined, message: failure?.message ?? 'the connection was closed' })
  }
}
