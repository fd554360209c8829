import { expect, test } from 'vitest'
import { PLAIN } from '../../cli/output.ts'
import { exitCodeOfTask, summarise } from '../../cli/summary.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { OUTCOMES } from '../../protocol/outcome.ts'
import { aTask } from './support/loopback.ts'

const withCheck = (outcome: string, verdict: string) => {
  const task = aTask({ outcome })
  const [turn] = task.turns
  return { ...task, turns: [{ ...turn, result: { ...turn?.result, check: { verdict } } }] } as typeof task
}

test.each(OUTCOMES)('%s has an exit code of its own', (outcome) => {
  expect(exitCodeOfTask(aTask({ outcome }))).toBe(EXIT_CODES[outcome])
})

test('no two meanings share an exit code', () => {
  const codes = Object.values(EXIT_CODES)
  expect(new Set(codes).size).toBe(codes.length)
})

test('a failed check turns a good end into 8, and leaves a bad one as it is', () => {
  expect(exitCodeOfTask(withCheck('succeeded', 'failed'))).toBe(8)
  expect(exitCodeOfTask(withCheck('no_changes', 'failed'))).toBe(8)
  expect(exitCodeOfTask(withCheck('succeeded', 'passed'))).toBe(0)
  expect(exitCodeOfTask(withCheck('timeout', 'failed'))).toBe(EXIT_CODES.timeout)
})

test('a kept task has the outcome of its turn, and says until when it is kept', () => {
  const { outcome, reason, message, endedAt, incomplete, ...base } = aTask() as unknown as Record<string, unknown>
  const task = aTask({
    ...base,
    state: 'running',
    keptUntil: '2026-01-02T04:04:05.000Z',
    connection: { online: true, since: '2026-01-02T03:04:05.000Z' },
  })
  expect(exitCodeOfTask(task)).toBe(0)
  expect(summarise(task, PLAIN).join('\n')).toContain('until 2026-01-02T04:04:05.000Z')
  expect(summarise(task, PLAIN).join('\n')).toContain('rclaude stop task_abcdefghjkmn')
})

test('a task without a verdict is no success', () => {
  expect(exitCodeOfTask(aTask({ state: 'running' }))).toBe(EXIT_CODES.internal)
})
