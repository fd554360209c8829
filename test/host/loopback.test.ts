import { expect, test } from 'vitest'
import { isLoopback } from '../../host/loopback.ts'

test.each(['127.0.0.1', '127.8.9.1', '::1', '[::1]', '::ffff:127.0.0.1', '[::ffff:7f00:1]', 'localhost', 'LocalHost'])(
  '%s can only be this machine',
  (host) => expect(isLoopback(host)).toBe(true),
)

test.each([
  '127.example.com',
  '127.0.0.1.example.com',
  '127.0.0.1234',
  'localhost.example.com',
  '128.0.0.1',
  '::2',
  '0.0.0.0',
  '',
])('%j may be another machine', (host) => expect(isLoopback(host)).toBe(false))
