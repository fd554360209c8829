/**
 * One message of a tunnel holds several frames of 16 KiB, so one turn of the event loop brings several pieces of a stream.
 * They go to the client in one write: a system call for each cost the gateway as much as all the rest.
 *
 * It is the socket that gathers, never the HTTP response on it: on Node 24 a response that ends while it is corked writes
 * the end of its chunks before what it has gathered.
 */
import type { Readable, Writable } from 'node:stream'

/** Call it before `from` is piped to the socket, or to the response on it; without a socket there is no client any more. */
export function gatherWrites(from: Readable, to: Writable | null): void {
  if (to === null) return
  let isCorked = false
  from.on('data', () => {
    if (isCorked) return
    isCorked = true
    to.cork()
    process.nextTick(() => {
      isCorked = false
      to.uncork()
    })
  })
}
