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
    return all[0]?.type === 'gap' && all
  })
  const [gap, ...rest] = events
  const count = gap?.type === 'gap' ? gap.count : 0
  expect(count).toBeGreaterThan(100)
  expect(rest.map((event) => event.agentSeq)).toEqual(Array.from({ length: 1_000 - count }, (_, n) => count + n + 1))
})
