import { expect, test } from 'vitest'
import { rttText, tunnelText } from '../../cli/tunnel-health.ts'
import type { TunnelHealth } from '../../protocol/connection.ts'

const health: TunnelHealth = {
  isAttached: true,
  rttMs: 1.25,
  bytesSent: 2048,
  bytesReceived: 10,
  bytesInFlight: 0,
  streams: 1,
  resumes: 2,
  resets: 0,
}

test('the round trip is short to read, and empty when it is not known', () => {
  expect(rttText(health)).toMatch(/^1\.[23]ms$/)
  expect(rttText({ ...health, rttMs: 81.6 })).toBe('82ms')
  expect(rttText({ ...health, rttMs: undefined })).toBe('')
  expect(rttText(undefined)).toBe('')
})

test('one line says whether the tunnel has a connection, and what goes over it', () => {
  expect(tunnelText(health)).toMatch(
    /^connected, round trip 1\.[23]ms, 1 stream, 0 B in flight, 10 B received, 2\.0 KiB sent, 2 resumes, 0 resets$/,
  )
  expect(tunnelText({ ...health, isAttached: false, rttMs: undefined })).toMatch(/^connection lost, .*, 1 stream,/)
  expect(tunnelText(undefined)).toBeUndefined()
})
