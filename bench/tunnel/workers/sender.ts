/**
 * The far end of the compared rows, in the agent's place: sends the big file to whoever asks, over TCP or through a
 * multiplexer on a WebSocket that it dialled itself. It reads the file as the agent does, so that all rows do the same
 * work at their source.
 */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import WebSocket from 'ws'
import { type Write, writerTo } from '../peers/peer.ts'
import { type PeerName, peers } from '../peers/peers.ts'
import { serve } from './serve.ts'

/** Exactly what its reader counts: not every way here can tell a sender to stop. */
export interface Part {
  file: string
  bytes: number
}

export type SenderCalls = {
  /** @returns the port on which each connection gets the file's first bytes */
  serveFile(request: Part): Promise<number>
  /** @returns the port on which each connection talks to a `cat` of its own, as an attached client does */
  serveCat(request: undefined): Promise<number>
  /** Dials the relay and serves the same on every stream that it opens. */
  dial(request: Part & { peer: PeerName; url: string }): Promise<void>
}

/** As agent/http/file-read.ts. */
const READ_BYTES = 256 * 1024

async function sendPart(part: Part, write: Write): Promise<void> {
  const file = await open(part.file)
  try {
    for (let left = part.bytes; left > 0; ) {
      const wanted = Math.min(READ_BYTES, left)
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(wanted), 0, wanted)
      if (bytesRead === 0) throw new Error(`${part.file} is shorter than ${part.bytes} bytes`)
      await write(buffer.subarray(0, bytesRead))
      left -= bytesRead
    }
  } finally {
    await file.close()
  }
}

const calls: SenderCalls = {
  serveFile: (part) =>
    listen(
      createServer((socket) => {
        socket.on('error', () => {})
        sendPart(part, writerTo(socket)).then(
          () => socket.end(),
          () => socket.destroy(),
        )
      }),
    ),
  serveCat: () => listen(createServer({ noDelay: true }, talkToCat)),
  async dial({ peer, url, ...part }) {
    const ws = new WebSocket(url, { perMessageDeflate: false, ...(url.startsWith('wss:') && { generateMask: noMask }) })
    await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
    await (await peers[peer]()).send(ws, (write) => sendPart(part, write))
  },
}

/** As the agent does inside TLS (tunnel/connect.ts). */
const noMask = (mask: Buffer): void => void mask.fill(0)

function talkToCat(socket: Socket): void {
  const cat = spawn('cat', { stdio: ['pipe', 'pipe', 'ignore'] })
  socket.pipe(cat.stdin)
  cat.stdout.pipe(socket)
  for (const stream of [socket, cat.stdin, cat.stdout]) stream.on('error', () => {})
  socket.once('close', () => cat.kill())
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)))
}

serve(calls)
