import { expect, test } from 'vitest'
import { checkTarget } from '../../../gateway/http/guard.ts'

test.each([
  '/v1/tasks/a/files/../../b',
  '/v1/tasks/a/files/%2e%2e/b',
  '/v1/tasks/a/files/.%2E/b',
  '/v1/tasks/a/files/./b',
  '/v1/tasks/a/files/x%2Fy',
  '/v1/tasks/a/files/x%5cy',
  '/v1/tasks/a/files/x%00y',
  '/v1/tasks/a/files/100%',
  '/v1/tasks/a/files/x\\y',
  '//evil.example/v1/tasks',
  'http://evil.example/v1/tasks',
  '*',
  '',
  `/v1/${'a'.repeat(9_000)}`,
])('the target %s is refused', (target) => {
  expect(() => checkTarget(target)).toThrow(/path/)
})

test.each(['/', '/v1/tasks?label=a/../b', '/v1/tasks/a/files/..hidden/x..y', '/v1/tasks/a/files/na%20me%25'])(
  'the target %s is taken',
  (target) => {
    expect(() => checkTarget(target)).not.toThrow()
  },
)
