import { expect, test } from 'vitest'
import { followEvents } from '../../cli/follow.ts'
import { randomFrom } from '../helpers/random.ts'
import { aTask, loopback, sendJson, sendProblem } from './support/loopback.ts'

const TASK = 'task_abcdefghjkmn'
const event = (seq: number) =>
  JSON.stringify({ seq, source: 'agent', at: '2026-01-02T03:04:05.000Z', turn: 1, type: 'warning', message: `${seq}` })

async function seqs(events: AsyncIterable<{ seq: number }>): Promise<number[]> {
  const all: number[] = []
  for await (const { seq } of events) all.push(seq)
  return all
}

test('a stream that breaks 30 times anywhere, in mid-line too, is read without loss or repetition', async () => {
  const total = 200
  const random = randomFrom(42)
  let breaks = 0
  const { client, requests } = await loopback((_, response, url) => {
    if (url.pathname === `/v1/tasks/${TASK}`) return sendJson(response, aTask({ lastSeq: total }))
    const since = Number(url.searchParams.get('since'))
    const rest = Array.from({ length: total - since }, (_, at) => `${event(since + at + 1)}\n`).join('')
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    if (breaks++ >= 30) return response.end(rest)
    if (random() < 0.2) return response.end() // a proxy that ends it politely
    response.write(rest.slice(0, Math.floor(random() * 3_000)), () => response.destroy())
  })
  const seen = await seqs(followEvents(client, TASK, { random: () => 0 }))
  expect(seen).toEqual(Array.from({ length: total }, (_, at) => at + 1))
  expect(requests.filter((line) => line.includes('/events')).length).toBeGreaterThan(5)
})

test('events that a server repeats are dropped', async () => {
  const { client } = await loopback((_, response, url) => {
    if (url.pathname === `/v1/tasks/${TASK}`) return sendJson(response, aTask({ lastSeq: 3 }))
    response.writeHead(200).end([1, 2, 2, 1, 3].map((seq) => `${event(seq)}\n`).join(''))
  })
  expect(await seqs(followEvents(client, TASK))).toEqual([1, 2, 3])
})

test('a stream that ends before the task has is asked for again', async () => {
  let asked = 0
  const { client } = await loopback((_, response, url) => {
    if (url.pathname === `/v1/tasks/${TASK}`) return sendJson(response, aTask({ lastSeq: 2 }))
    asked++
    response.writeHead(200).end(asked === 1 ? `${event(1)}\n` : `${event(2)}\n`)
  })
  expect(await seqs(followEvents(client, TASK, { random: () => 0 }))).toEqual([1, 2])
  expect(asked).toBe(2)
})

test('a gateway that is away for too long is given up, and the message says the task goes on', async () => {
  const { client } = await loopback((_, response) => sendProblem(response, 503, 'unavailable', 'starting'))
  await expect(seqs(followEvents(client, TASK, { giveUpMs: 50, random: () => 0.1 }))).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(`rclaude attach ${TASK}`),
  })
})

test('a quiet stream that is cut once an hour is no gateway that is away', async () => {
  let nowMs = 0
  let cuts = 0
  const { client } = await loopback((_, response, url) => {
    if (url.pathname === `/v1/tasks/${TASK}`) return sendJson(response, aTask({ lastSeq: 1 }))
    if (cuts++ === 3) return response.end(`${event(1)}\n`)
    response.write('\n', () => {
      nowMs += 3_600_000
      response.destroy()
    })
  })
  expect(await seqs(followEvents(client, TASK, { random: () => 0, now: () => nowMs }))).toEqual([1])
  expect(cuts).toBe(4)
})

test('an answer that more tries would not change ends it at once', async () => {
  const { client, requests } = await loopback((_, response) =>
    sendProblem(response, 401, 'unauthenticated', 'the token was revoked'),
  )
  await expect(seqs(followEvents(client, TASK))).rejects.toMatchObject({ code: 'unauthenticated' })
  expect(requests.length).toBe(1)
})

test('an abort ends it, in the stream and in the wait between tries', async () => {
  const open = await loopback((_, response) => void response.writeHead(200).write(`${event(1)}\n`))
  const reading = new AbortController()
  const read = (async () => {
    for await (const _ of followEvents(open.client, TASK, { signal: reading.signal })) reading.abort(new Error('left'))
  })()
  await expect(read).rejects.toThrow()

  const waiting = new AbortController()
  const away = await loopback((_, response) => {
    sendProblem(response, 503, 'unavailable', 'starting')
    setImmediate(() => waiting.abort())
  })
  await expect(seqs(followEvents(away.client, TASK, { signal: waiting.signal, random: () => 1 }))).rejects.toThrow()
})
