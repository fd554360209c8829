/** How long the gateway waits for an agent that was handed a request. */
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { HEAD_TIMEOUT_MS, receiveAnswer } from '../../../gateway/http/receive-answer.ts'

let agent: Server
/** Once the agent has the whole request, which it never answers. */
let hasAll: Promise<void>
beforeEach(async () => {
  hasAll = new Promise((resolve) => {
    agent = createServer((incoming) => incoming.resume().once('end', resolve))
  })
  await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve))
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
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
