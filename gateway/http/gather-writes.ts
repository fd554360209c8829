/**
 * One message of a tunnel holds several frames of 16 KiB, so one turn of the event loop brings several pieces of a stream.
 * They go to the client in one write: a system call for each cost the gateway as much as all the rest.
 */
import type { Readable } from 'node:stream'

interface Corkable {
  cork(): void
  uncork(): void
}

/** Call it before `from` is piped to `to`. */
export function gatherWrites(from: Readable, to: Corkable): void {
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
