/** One end of a TCP connection whose two halves end each by itself, for whoever moves its bytes elsewhere. */
import type { Socket } from 'node:net'

export interface TcpEvents {
  onData(bytes: Buffer): void
  /** The other side ended its half. */
  onEnd(): void
  /** It broke before both halves had ended. */
  onFailed(): void
}

export interface TcpEnd {
  pause(): void
  resume(): void
  /** `taken` is called when the system has it. */
  write(bytes: Uint8Array, taken: () => void): void
  end(taken: () => void): void
  /** Tells the other side that the connection broke. */
  reset(): void
}

/** @param socket made with `allowHalfOpen` */
export function tcpEnd(socket: Socket, events: TcpEvents): TcpEnd {
  let hasEnded = false
  socket.setNoDelay(true)
  socket.on('data', (bytes: Buffer) => events.onData(bytes))
  socket.once('end', () => {
    hasEnded = true
    events.onEnd()
  })
  socket.on('error', () => {}) // 'close' follows
  socket.once('close', () => {
    if (!hasEnded || !socket.writableFinished) events.onFailed()
  })
  socket.resume() // it may have been accepted paused
  return {
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    write(bytes, taken) {
      socket.write(bytes, (error) => {
        if (!error) taken()
      })
    },
    end: (taken) => void socket.end(taken),
    reset() {
      socket.resetAndDestroy() // which waits for what is still to be written
      socket.destroy()
    },
  }
}
