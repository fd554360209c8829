/** Two streams as one: bytes are moved, and nothing is parsed. */
import type { Duplex } from 'node:stream'
import { gatherWrites } from './gather-writes.ts'

/** Both directions with back-pressure; an end or a fault on one side ends the other. */
export function join(stream: Duplex, socket: Duplex): void {
  const close = () => {
    stream.destroy()
    socket.destroy()
  }
  stream.on('error', close).on('close', close)
  socket.on('error', close).on('close', close)
  gatherWrites(stream, socket)
  stream.pipe(socket).pipe(stream)
}
