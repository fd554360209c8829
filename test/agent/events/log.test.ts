import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { EventLog, type EventLogOptions } from '../../../agent/events/log.ts'
import { AgentEvent } from '../../../protocol/event.ts'
import { eventually } from '../../helpers/eventually.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

function openLog(limits: Omit<EventLogOptions, 'directory'> = {}): EventLog {
  const log = new EventLog({ directory: temporaryDirectory(), ...limits })
  onTestFinished(() => log.close())
  return log
}

async function readAll(log: EventLog, since: number, follow = false): Promise<AgentEvent[]> {
  let text = ''
  for await (const piece of log.read(since, { follow, signal: new AbortController().signal })) text += piece.toString()
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => AgentEvent.parse(JSON.parse(line)))
}

test('events are numbered from 1 and read from any number on', async () => {
  const log = openLog()
  for (let n = 0; n < 5; n++) log.append(1, { type: 'warning', message: `ünïcode ${n}` })
  expect((await readAll(log, 0)).map((event) => event.agentSeq)).toEqual([1, 2, 3, 4, 5])
  expect(await readAll(log, 3)).toMatchObject([{ agentSeq: 4, message: 'ünïcode 3' }, { agentSeq: 5 }])
  expect(await readAll(log, 5)).toEqual([])
})

test('a reader that follows gets what comes later and ends with the log', async () => {
  const log = openLog()
  const reading = readAll(log, 0, true)
  log.append(1, { type: 'warning', message: 'a' })
  await new Promise((resolve) => setTimeout(resolve, 20))
  log.append(1, { type: 'warning', message: 'b' })
  log.close()
  expect((await reading).map((event) => event.agentSeq)).toEqual([1, 2])
})

test('beyond the quota the oldest events become one gap that says how many, and no line is cut', async () => {
  const log = openLog({ quotaBytes: 40_000, segmentBytes: 10_000 })
  for (let n = 0; n < 1_000; n++) {
    log.append(1, { type: 'warning', message: `${n} ${'x'.repeat(n % 200)}` })
    while (!log.hasRoom) await log.changed()
  }
  const events = await eventually('the old ones are gone', async () => {
    const all = await readAll(log, 0)
    const gaps = all.flatMap((event) => (event.type === 'gap' ? [event.count] : [])) // two while it is being written
    return gaps.length === 1 && (gaps[0] ?? 0) > 100 && all
  })
  const [gap, ...rest] = events
  const count = gap?.type === 'gap' ? gap.count : 0
  expect(rest.map((event) => event.agentSeq)).toEqual(Array.from({ length: 1_000 - count }, (_, n) => count + n + 1))
})

/** Appends so many events, each on the disk before the next. */
async function fill(log: EventLog, turn: number, count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    log.append(turn, { type: 'warning', message: 'x'.repeat(100) })
    await log.changed()
  }
}

test('a gap counts what this reader lost, in the turn that it was lost from', async () => {
  const log = openLog({ quotaBytes: 40_000, segmentBytes: 10_000 })
  await fill(log, 1, 500)
  await fill(log, 2, 500)
  await fill(log, 3, 1)
  const [gap, next] = await readAll(log, 0)
  const lost = gap?.agentSeq ?? 0
  expect(lost).toBeGreaterThan(500)
  expect(gap).toMatchObject({ type: 'gap', turn: 2, count: lost })
  expect(next?.agentSeq).toBe(lost + 1)
  expect((await readAll(log, 300))[0]).toMatchObject({ type: 'gap', turn: 2, agentSeq: lost, count: lost - 300 })
})

test('a reader that falls behind in the middle is told of exactly what it missed', async () => {
  const log = openLog({ quotaBytes: 40_000, segmentBytes: 10_000 })
  await fill(log, 1, 10)
  const reading = log.read(0, { follow: true, signal: AbortSignal.timeout(20_000) })
  expect(String((await reading.next()).value).match(/\n/g)).toHaveLength(10)
  await fill(log, 1, 500)
  const next = AgentEvent.parse(JSON.parse(String((await reading.next()).value)))
  expect(next.agentSeq).toBeGreaterThan(200)
  expect(next).toMatchObject({ type: 'gap', count: next.agentSeq - 10 })
  await reading.return(undefined)
})

/** As much of the disk as the test gives the folder, less what truly lies in it. */
const diskOf = (totalBytes: number) => async (directory: string) =>
  totalBytes - readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)

test('on a full disk the end of the turn is still told, and what was dropped is said', async () => {
  const directory = temporaryDirectory()
  const log = new EventLog({ directory, freeBytes: diskOf(6 * 1024 ** 2), now: () => new Date(0) })
  onTestFinished(() => log.close())
  const reserve = join(directory, 'events.reserve')
  expect(statSync(reserve).size).toBe(2 * 1024 ** 2)
  for (let n = 0; n < 200; n++) {
    log.append(1, { type: 'output', step: 'agent', channel: 'stdout', text: `${n} `.repeat(10_000) })
    while (!log.hasRoom) await log.changed()
  }
  expect(existsSync(reserve)).toBe(false)
  log.append(1, { type: 'step', step: 'agent', status: 'done' })
  log.append(1, { type: 'warning', message: 'the last word' })
  const events = await eventually('all is on the disk', async () => {
    const all = await readAll(log, 0)
    return all.at(-1)?.type === 'warning' && all
  })
  const outputs = events.filter((event) => event.type === 'output').length
  const gap = events.find((event) => event.type === 'gap')
  expect(gap).toMatchObject({ count: 200 - outputs, what: expect.stringContaining('disk') })
  expect(events.map((event) => event.agentSeq)).toEqual(events.map((_, index) => index + 1)) // nothing else was lost
  expect(events.slice(-2)).toMatchObject([{ type: 'step' }, { type: 'warning', message: 'the last word' }])
})

test('once there is room again all is taken, and the reserve is kept again', async () => {
  const directory = temporaryDirectory()
  let [total, now] = [3 * 1024 ** 2, 0]
  const log = new EventLog({ directory, freeBytes: async (path) => diskOf(total)(path), now: () => new Date(now) })
  onTestFinished(() => log.close())
  const say = async (text: string) => {
    log.append(1, { type: 'output', step: 'agent', channel: 'stdout', text })
    while (!log.hasRoom) await log.changed()
  }
  const reserve = join(directory, 'events.reserve')
  await eventually('the disk is full', async () => {
    await say('x'.repeat(60_000))
    return !existsSync(reserve)
  })
  total *= 10
  await say('too early')
  now += 5_000
  await say('heard')
  expect(existsSync(reserve)).toBe(true)
  const texts = (await readAll(log, 0)).flatMap((event) => (event.type === 'output' ? [event.text] : []))
  expect(texts.at(-1)).toBe('heard')
  expect(texts).not.toContain('too early')
})
