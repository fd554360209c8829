/** A slow line: what the server sends reaches the client at so many bytes a second; the other way is not slowed. */
import { type AddressInfo, connect, createServer } from 'node:net'

const STEP_BYTES = 2_000

export interface Relay {
  port: number
  close(): void
}

export async function throttledRelay(port: number, bytesPerSecond: number): Promise<Relay> {
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true })
    client.pipe(upstream)
    const carry = async () => {
      let free = performance.now()
      for await (const chunk of upstream as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length; at += STEP_BYTES) {
          const step = chunk.subarray(at, at + STEP_BYTES)
          free = Math.max(free, performance.now()) + (step.length / bytesPerSecond) * 1_000
          const wait = free - performance.now()
          if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait))
          if (!client.write(step)) await new Promise((resolve) => client.once('drain', resolve))
        }
      }
      client.end()
    }
    carry().catch(() => client.destroy())
    client.on('error', () => {}).once('close', () => upstream.destroy())
    upstream.on('error', () => {}).once('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, close: () => server.close() }
}
