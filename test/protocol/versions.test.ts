/** Neighbouring releases understand one another, and others are told which side to upgrade. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EventBody, NO_USAGE, readAgentEvent, readTaskEvent } from '../../protocol/event.ts'
import { protocolHeader, protocolMismatch } from '../../protocol/version.ts'

const own = { oldest: 2, newest: 3 }
const mismatch = (peer: string | undefined) => protocolMismatch('the gateway', 'this agent', peer, own)
const envelope = { seq: 7, agentSeq: 7, source: 'agent', at: '2026-01-02T03:04:05.000Z', turn: 1 }

test.each([undefined, '2', '3', '1-2', '3-4', '1-9'])('protocol %s is served', (peer) => {
  expect(mismatch(peer)).toBeUndefined()
})

test('the side that is too old is named', () => {
  expect(mismatch('1')).toMatch(/upgrade this agent$/)
  expect(mismatch('0-1')).toMatch(/upgrade this agent$/)
  expect(mismatch('4')).toMatch(/upgrade the gateway$/)
  expect(mismatch('4-5')).toMatch(/upgrade the gateway$/)
  for (const peer of ['', 'x', '1.5', '-1', '1-', '9'.repeat(400)]) expect(mismatch(peer)).toMatch(/unreadable/)
})

test('two sides agree on whether they fit', () => {
  const range = fc
    .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
    .map(([a, b]) => ({ oldest: Math.min(a, b), newest: Math.max(a, b) }))
  fc.assert(
    fc.property(range, range, (a, b) => {
      const one = protocolMismatch('a', 'b', protocolHeader(b), a)
      const other = protocolMismatch('b', 'a', protocolHeader(a), b)
      expect(one === undefined).toBe(other === undefined)
      expect(one?.slice(-1)).toBe(other?.slice(-1)) // the same side is to be upgraded
    }),
  )
})

test('an event of a kind that is not known is carried along untouched', () => {
  const types = new Set<string>(EventBody.options.map((option) => option.shape.type.value))
  const kind = fc.string().filter((type) => !types.has(type))
  fc.assert(
    fc.property(kind, fc.jsonValue(), (type, more) => {
      const event = { ...envelope, type, more }
      expect(readTaskEvent(event)).toMatchObject({ seq: 7, type: 'raw', line: event })
      expect(readAgentEvent(event)).toMatchObject({ agentSeq: 7, type: 'raw', line: event })
    }),
  )
})

test('an unknown word in a known event of an agent makes it raw, and the end of a turn is told in known ones', () => {
  const step = { ...envelope, type: 'step', step: 'rehearsal', status: 'started' }
  expect(readAgentEvent(step)).toMatchObject({ agentSeq: 7, type: 'raw', line: step })
  const result = { outcome: 'postponed', reason: 'full_moon', message: 'The moon is full', check: { verdict: 'flaky' } }
  const counts = { usage: NO_USAGE, durationMs: 5, filesChanged: 0 }
  const ended = (changes: object) =>
    readAgentEvent({ ...envelope, type: 'turn_ended', result: { ...result, ...counts, ...changes } })
  expect(ended({})).toMatchObject({
    type: 'turn_ended',
    result: {
      outcome: 'failed',
      reason: 'internal',
      check: { verdict: 'failed' },
      message: 'The moon is full (in words of a newer agent: postponed, full_moon, flaky)',
    },
  })
  expect(ended({ outcome: 'succeeded', check: { verdict: 'passed' } })).toMatchObject({
    result: { outcome: 'succeeded', reason: 'internal', check: { verdict: 'passed' } },
  })
  expect(ended({ outcome: 'no word\u001b' })).toBeUndefined()
  expect(ended({ filesChanged: -1 })).toBeUndefined()
})

test('more fields in a known event do no harm, and a wrong one of an agent is refused', () => {
  expect(readTaskEvent({ ...envelope, type: 'warning', message: 'm', more: 1 })).toMatchObject({ message: 'm' })
  expect(readAgentEvent({ ...envelope, type: 'warning', message: 5 })).toBeUndefined()
  expect(readAgentEvent({ ...envelope, agentSeq: 0, type: 'new' })).toBeUndefined()
})
