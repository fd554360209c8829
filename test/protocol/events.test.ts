import { expect, test } from 'vitest'
import { TaskEvent } from '../../protocol/event.ts'

test('an event keeps what it does not know of a session update', () => {
  const event = {
    seq: 1,
    source: 'agent',
    at: '2026-01-01T00:00:00.000Z',
    turn: 1,
    type: 'session_update',
    update: { sessionUpdate: 'something_new', detail: { deep: [1, 2] } },
  }
  expect(TaskEvent.parse(event)).toEqual(event)
})

test('an event of an unknown type is refused', () => {
  expect(() =>
    TaskEvent.parse({ seq: 1, source: 'agent', at: '2026-01-01T00:00:00Z', turn: 1, type: 'nonsense' }),
  ).toThrow()
})
