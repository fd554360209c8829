/** What a run came to, when its end was not heard. */
import { expect, test } from 'vitest'
import { ClaudeLine } from '../../../agent/adapters/claude-lines.ts'
import { createTally } from '../../../agent/adapters/claude-tally.ts'

const init = { type: 'system', subtype: 'init' }
const retry = { type: 'system', subtype: 'api_retry' }
const answer = (id: string, output_tokens: number, more = {}) => ({
  type: 'assistant',
  message: { id, content: [], usage: { input_tokens: 100, output_tokens } },
  ...more,
})
const toolSaid = { type: 'user', message: { content: 'ok' } }
const result = (total_cost_usd: number, usage: object, more = {}) => ({
  type: 'result',
  subtype: 'success',
  num_turns: 1,
  total_cost_usd,
  usage,
  ...more,
})
const interrupted = (more = {}) => result(0, {}, { subtype: 'error_during_execution', is_error: true, ...more })

function tallyOf(...lines: object[]) {
  const tally = createTally()
  for (const line of lines) tally.add(ClaudeLine.parse(line))
  return tally
}

test('a run that was stopped in its first answer has an unknown cost, with and without an empty result', () => {
  expect(tallyOf(init).costUnknown()).toBe(true)
  expect(tallyOf(init, interrupted()).costUnknown()).toBe(true)
})

test('a run that never asked a model, or was refused by it, has none', () => {
  expect(tallyOf().costUnknown()).toBe(false)
  expect(tallyOf(init, retry).costUnknown()).toBe(false)
  expect(tallyOf(init, interrupted({ api_error_status: 401 })).costUnknown()).toBe(false)
  const refused = answer('m', 0, { is_api_error_message: true })
  expect(tallyOf(init, refused, interrupted()).costUnknown()).toBe(false)
})

test('an empty result does not take back what the messages said', () => {
  const tally = tallyOf(init, answer('m1', 10), toolSaid, interrupted())
  expect(tally.usage()).toMatchObject({ inputTokens: 100, outputTokens: 10, costUsd: 0, turns: 1 })
  expect(tally.costUnknown()).toBe(true)
})

test('a message after a result counts at the price that the result had', () => {
  const first = result(1, { input_tokens: 100, output_tokens: 180 }) // a thousand input tokens' worth
  const tally = tallyOf(init, answer('m1', 180), first, toolSaid, answer('m2', 380), answer('m2', 380))
  expect(tally.usage()).toMatchObject({ inputTokens: 200, outputTokens: 560, turns: 2 })
  expect(tally.usage().costUsd).toBeCloseTo(3)
  expect(tally.costUnknown()).toBe(false)
  expect(tallyOf(init, answer('m1', 180), first).usage()).toMatchObject({ outputTokens: 180, costUsd: 1, turns: 1 })
})
