/** What a side of another protocol hears from the gateway, on the wire. */
import { expect, test } from 'vitest'
import { newLaunchId, newTaskId } from '../../protocol/ids.ts'
import { DIAL_HEADERS } from '../../protocol/run.ts'
import { PROTOCOL_HEADER, PROTOCOL_OLDEST, PROTOCOL_VERSION } from '../../protocol/version.ts'
import { head, rawExchange, statuses, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { startWorld, type World } from '../helpers/world.ts'

const NEXT = PROTOCOL_VERSION + 1
const PREVIOUS = PROTOCOL_OLDEST - 1

const asClient = (world: World, protocol: string) =>
  rawExchange(
    world.url,
    head(
      world.url,
      'GET /v1/me HTTP/1.1',
      `Authorization: Bearer ${world.adminToken}`,
      `${PROTOCOL_HEADER}: ${protocol}`,
      'Connection: close',
    ),
  )

const asAgent = (world: World, protocol: string) =>
  rawExchange(
    world.url,
    head(
      world.url,
      'GET /v1/tunnel HTTP/1.1',
      ...WEBSOCKET_HEADERS,
      `Authorization: Bearer ${'x'.repeat(43)}`,
      `${DIAL_HEADERS.taskId}: ${newTaskId()}`,
      `${DIAL_HEADERS.launchId}: ${newLaunchId()}`,
      `${PROTOCOL_HEADER}: ${protocol}`,
    ),
  )

test('CLI and agent of another protocol are told which side to upgrade; a neighbour is let in', async () => {
  const world = await startWorld()
  for (const [exchange, who] of [
    [asClient, 'this client'],
    [asAgent, 'this agent'],
  ] as const) {
    const older = await exchange(world, String(PREVIOUS))
    expect(statuses(older)).toEqual([426])
    expect(older).toContain(`upgrade ${who}`)
    const newer = await exchange(world, String(NEXT))
    expect(statuses(newer)).toEqual([426])
    expect(newer).toContain('upgrade the gateway')
  }
  const neighbour = `${PROTOCOL_VERSION}-${NEXT}`
  expect(statuses(await asClient(world, neighbour))).toEqual([200])
  // Past the versions: this launch is none of ours.
  expect(statuses(await asAgent(world, neighbour))).toEqual([401])
})
