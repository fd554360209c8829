/** `GET /files/DIR?watch=1`: what a client sees, whatever becomes of its connection. */
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { Feed } from '../../../agent/watch/feed.ts'
import { Watches } from '../../../agent/watch/watches.ts'
import { FileChanges, WatchEnd, WatchOverflow, WatchReady } from '../../../protocol/watch.ts'
import { eventually } from '../../helpers/eventually.ts'
import { type SseEvent, SseReader } from '../../helpers/sse.ts'
import { closeSound, type Loopback, startLoopback } from './loopback.ts'

let agent: Loopback
beforeEach(async () => {
  agent = await startLoopback({}, (root) => ({ watches: new Watches({ root, lingerMs: 2_000, heldBytes: 20_000 }) }))
})
afterEach(() => closeSound(agent))

const at = (path: string) => join(agent.workspace, path)

async function watching(path = '', query = '', lastEventId?: string): Promise<SseReader> {
  const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
  const reader = await SseReader.open(`${agent.url}/files/${path}?watch=1${query}`, headers)
  onTestFinished(() => reader.close())
  return reader
}

async function ready(reader: SseReader): Promise<SseEvent> {
  const event = await reader.next()
  expect(event?.event).toBe('ready')
  return event as SseEvent
}

async function change(reader: SseReader): Promise<{ id: string; told: string[] }> {
  const event = await reader.next()
  expect(event?.event).toBe('change')
  const { changes } = FileChanges.parse(event?.data)
  return { id: event?.id ?? '', told: changes.map(({ kind, path }) => `${kind} ${path}`) }
}

test('a change is told soon, with the ETag that GET gives', async () => {
  mkdirSync(at('d'))
  const reader = await watching('d')
  expect(reader.response.headers.get('content-type')).toBe('text/event-stream')
  await ready(reader)
  writeFileSync(at('outside'), '')
  writeFileSync(at('d/f'), 'x')
  const { data } = (await reader.next()) as SseEvent
  const etag = (await fetch(`${agent.url}/files/d/f`)).headers.get('etag')
  expect(data).toEqual({ changes: [{ kind: 'created', path: 'f', type: 'file', etag }] })
})

test('.git and node_modules are left out unless ignore says otherwise', async () => {
  for (const path of ['.git/objects', 'a/node_modules/x', 'dist']) mkdirSync(at(path), { recursive: true })
  const [usual, own, all] = [
    await watching(),
    await watching('', '&ignore=dist&ignore=*.log'),
    await watching('', '&ignore='),
  ]
  expect(WatchReady.parse((await ready(usual)).data).ignore).toEqual(['.git', 'node_modules'])
  await ready(own)
  await ready(all)
  for (const path of ['.git/objects/o', 'a/node_modules/x/f', 'dist/d', 'x.log', 'last']) writeFileSync(at(path), '')
  const until = async (reader: SseReader) => {
    const told: string[] = []
    while (!told.includes('created last')) told.push(...(await change(reader)).told)
    return told.sort()
  }
  expect(await until(usual)).toEqual(['created dist/d', 'created last', 'created x.log'])
  expect(await until(own)).toEqual(['created .git/objects/o', 'created a/node_modules/x/f', 'created last'])
  expect(await until(all)).toHaveLength(5)
})

test('a client that comes back with Last-Event-ID gets what it missed, once', async () => {
  const first = await watching()
  await ready(first)
  writeFileSync(at('one'), '')
  const { id } = await change(first)
  const other = await watching() // two share one watch
  await ready(other)
  first.close()
  writeFileSync(at('two'), '')
  expect((await change(other)).told).toEqual(['created two'])
  writeFileSync(at('three'), '')
  expect((await change(other)).told).toEqual(['created three'])
  other.close() // nobody is left; the watch goes on for a moment
  writeFileSync(at('four'), '')
  const again = await watching('', '', id)
  expect((await ready(again)).id).toBe(id)
  for (const name of ['two', 'three', 'four']) expect((await change(again)).told).toEqual([`created ${name}`])
})

test('a client that missed more than is held is told to list again', async () => {
  const first = await watching()
  const { id } = await ready(first)
  for (let i = 0; i < 30; i++) {
    writeFileSync(at(`${'x'.repeat(200)}${i}`), '')
    for (let at = 0; at < 20; at++) writeFileSync(join(agent.workspace, `${'y'.repeat(100)}${i}-${at}`), '')
    await change(first)
  }
  for (const gone of [id, 'abc-1', 'nonsense', `${id}9`]) {
    const again = await watching('', '', gone)
    const overflow = await again.next()
    expect([gone, overflow?.event, WatchOverflow.parse(overflow?.data).reason]).toEqual([gone, 'overflow', 'gap'])
    await ready(again)
  }
})

test('a watch that nobody reads ends after a while, and the next is told that it is another', async () => {
  const watches = new Watches({ root: agent.workspace, lingerMs: 30 })
  const { feed, release } = await watches.join([], [])
  const second = await watches.join([], [])
  expect(second.feed).toBe(feed)
  release()
  second.release()
  await eventually('it has ended', () => watches.size === 0)
  expect((await watches.join([], [])).feed).not.toBe(feed)
})

test('a reader that does not read costs no memory, and is told what it lost', async () => {
  const feed = new Feed(10_000)
  const reading = feed.read({ ignore: [] }, undefined, new AbortController().signal)
  const tell = (i: number) =>
    feed.tellChanges([{ kind: 'created', path: `${i}`.padStart(100, 'x'), type: 'directory' }])
  expect((await reading.next()).value).toContain('event: ready')
  tell(0)
  expect((await reading.next()).value).toContain('event: change')
  for (let i = 1; i < 5_000; i++) tell(i)
  expect(feed.heldBytes).toBeLessThanOrEqual(10_000)
  expect((await reading.next()).value).toMatch(/event: overflow\n.*"reason":"gap"/)
  const next = (await reading.next()).value ?? ''
  expect(Number(/x(\d+)"/.exec(next)?.[1])).toBeGreaterThan(4_900)
})

test('what cannot be watched is refused with the reason', async () => {
  writeFileSync(at('f'), '')
  symlinkSync('/etc', at('out'))
  const status = async (path: string, query = '') => (await fetch(`${agent.url}/files/${path}?watch=1${query}`)).status
  expect(await status('f')).toBe(415)
  expect(await status('out')).toBe(415)
  expect(await status('missing')).toBe(404)
  expect(await status('out/ssl')).toBe(403)
  expect(await status('', `&ignore=${'x'.repeat(501)}`)).toBe(400)
})

test('more watches than a task may have are refused, but one that nobody reads makes room', async () => {
  for (const name of ['a', 'b', 'c']) mkdirSync(at(name))
  const watches = new Watches({ root: agent.workspace, maxWatches: 2 })
  const join = (name: string) => watches.join([Buffer.from(name)], [])
  const first = await join('a')
  await join('b')
  await expect(join('c')).rejects.toMatchObject({ code: 'limit' })
  first.release()
  await expect(join('c')).resolves.toBeDefined()
})

test('renames come as one change through HTTP too, and the end of the directory as an end', async () => {
  mkdirSync(at('d'))
  writeFileSync(at('d/a'), '')
  const reader = await watching('d')
  await ready(reader)
  renameSync(at('d/a'), at('d/b'))
  expect(FileChanges.parse((await reader.next())?.data).changes).toMatchObject([
    { kind: 'renamed', from: 'a', path: 'b' },
  ])
  appendFileSync(at('d/b'), 'more')
  expect((await change(reader)).told).toEqual(['modified b'])
  rmSync(at('d'), { recursive: true })
  let last = await reader.next()
  while (last?.event === 'change') last = await reader.next()
  expect(WatchEnd.parse(last?.data).message).toContain('gone')
  expect(await reader.next()).toBeUndefined()
})
