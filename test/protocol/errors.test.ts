import { expect, test } from 'vitest'
import { EXIT_CODES, exitCodeOf, Problem, RclaudeError } from '../../protocol/errors.ts'
import { OUTCOMES } from '../../protocol/outcome.ts'

test('every outcome has an exit code of its own', () => {
  const codes = OUTCOMES.map((outcome) => EXIT_CODES[outcome])
  expect(new Set(codes).size).toBe(OUTCOMES.length)
  expect(codes).not.toContain(EXIT_CODES.internal)
  expect(codes).not.toContain(EXIT_CODES.usage)
})

test('an error survives the wire', () => {
  const error = new RclaudeError('limit', 'too many tasks', {
    retryAfterSeconds: 3,
    issues: [{ path: 'a', message: 'b' }],
  })
  const back = RclaudeError.fromProblem(Problem.parse(JSON.parse(JSON.stringify(error.toProblem('req_1')))))
  expect(back).toMatchObject({
    code: 'limit',
    status: 429,
    message: 'too many tasks',
    retryAfterSeconds: 3,
    requestId: 'req_1',
  })
})

test('a mistake of the user exits with 2 and anything else with 125', () => {
  expect(exitCodeOf(new RclaudeError('invalid', 'x'))).toBe(2)
  expect(exitCodeOf(new RclaudeError('unavailable', 'x'))).toBe(125)
  expect(exitCodeOf(new Error('x'))).toBe(125)
})
