/** 429 with Retry-After, from a real server on loopback. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { patientFetch } from '../../cli/patience.ts'

/** Answers 429 with each of these headers in turn, then 200 with the body that it was sent. */
async function server(...retryAfter: Array<string | undefined>) {
  const bodies: string[] = []
  const http = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    bodies.push(body)
    const isRefused = retryAfter.length > 0
    const header = retryAfter.shift()
    response.writeHead(isRefused ? 429 : 200, header === undefined ? {} : { 'retry-after': header }).end(body)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void http.close())
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/`, bodies }
}

test('a request waits as long as it is told, says so, and is sent again whole', async () => {
  const { url, bodies } = await server('1', new Date(Date.now() + 2_500).toUTCString())
  const said: string[] = []
  const ask = patientFetch({ maxWaitSeconds: 10, say: (text) => said.push(text) })
  const began = Date.now()
  const response = await ask(url, { method: 'POST', body: 'hello' })
  expect([response.status, await response.text()]).toEqual([200, 'hello'])
  expect(bodies).toEqual(['hello', 'hello', 'hello'])
  expect(said).toHaveLength(2)
  expect(said[0]).toBe('the gateway is at a limit; trying again in 1.0s')
  expect(Date.now() - began).toBeGreaterThanOrEqual(1_900)
})

test('the refusal is the answer when waiting would take too long, is not wanted, or was not offered', async () => {
  const say = () => expect.unreachable('there is nothing to wait for')
  for (const [header, maxWaitSeconds] of [
    ['11', 10],
    ['1', 0],
    [undefined, 10],
    ['soon', 10],
  ] as const) {
    const { url, bodies } = await server(header)
    expect((await patientFetch({ maxWaitSeconds, say })(url)).status).toBe(429)
    expect(bodies).toHaveLength(1)
  }
})

test('the waits of one request are bounded in sum', async () => {
  const { url, bodies } = await server('1', '1', '1', '1')
  const response = await patientFetch({ maxWaitSeconds: 2, say: () => {} })(url)
  expect([response.status, bodies.length]).toEqual([429, 3])
})

test('whoever gives up does not wait to the end', async () => {
  const { url } = await server('60')
  const ask = patientFetch({ maxWaitSeconds: 600, say: () => {} })
  await expect(ask(url, { signal: AbortSignal.timeout(200) })).rejects.toThrow()
})
