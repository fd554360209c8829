/** How long the gateway waits for an agent that was handed a request. */
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { HEAD_TIMEOUT_MS, receiveAnswer, STALL_TIMEOUT_MS } from '../../../gateway/http/receive-answer.ts'

let agent: Server
/** Once the agent has the whole request, which it never answers. */
let hasAll: Promise<void>
beforeEach(async () => {
  hasAll = new Promise((resolve) => {
    agent = createServer((incoming) => incoming.resume().once('end', resolve))
  })
  await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve))
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] })
})
afterEach(() => {
  vi.useRealTimers()
  agent.closeAllConnections()
  agent.close()
})

test('the minute for an answer begins with the last byte of the request, however long that takes', async () => {
  const upstream = request({ port: (agent.address() as AddressInfo).port, method: 'PUT' })
  const settled = vi.fn()
  const answer = receiveAnswer(upstream)
  answer.catch(settled)
  await new Promise<void>((resolve) => upstream.write('a part', () => resolve()))
  await vi.advanceTimersByTimeAsync(10 * HEAD_TIMEOUT_MS)
  expect(settled).not.toHaveBeenCalled()
  upstream.end('the rest')
  await hasAll
  await vi.advanceTimersByTimeAsync(HEAD_TIMEOUT_MS - 1)
  expect(settled).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(1)
  await expect(answer).rejects.toMatchObject({ code: 'agent_timeout' })
  expect(upstream.destroyed).toBe(true)
})

test('an agent that stops reading an upload is given up, one that reads a little now and then is not', async () => {
  const reading = new Promise<IncomingMessage>((resolve) => {
    agent.removeAllListeners('request').once('request', (incoming) => resolve(incoming.pause()))
  })
  const upstream = request({ port: (agent.address() as AddressInfo).port, method: 'PUT' })
  const answer = receiveAnswer(upstream)
  const settled = vi.fn()
  answer.catch(settled)
  const fill = () => {
    while (upstream.write(Buffer.alloc(65_536)));
  }
  upstream.on('drain', fill)
  fill()
  const incoming = await reading
  const read = async (bytes: number) => {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
      bytes -= chunk.length
      if (bytes <= 0) return
    }
  }
  for (let time = 0; time < 10; time++) {
    await vi.advanceTimersByTimeAsync(0.8 * STALL_TIMEOUT_MS)
    await read(16 * 1024 ** 2)
  }
  expect(settled).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(2 * STALL_TIMEOUT_MS)
  await expect(answer).rejects.toMatchObject({
    code: 'agent_timeout',
    message: 'the agent has read nothing of the request for 120 s',
  })
  expect(upstream.destroyed).toBe(true)
})
