/** What a client holds open on a running task: its event stream and a process's WebSocket, each seen to work. */
import { head, type RawConnection, rawConnection, WEBSOCKET_HEADERS } from './raw.ts'
import { stopTasksAfterwards } from './stop-tasks.ts'
import type { World } from './world.ts'

/** A task that runs until the test is over. @param owner by a token */
export async function sleepingTask(world: World, owner: string): Promise<string> {
  stopTasksAfterwards(world)
  const spec = { agent: 'command' as const, command: ['sleep', '300'], workspace: { kind: 'none' as const } }
  const { id } = await world.createTask(spec, owner)
  await world.state(id, 'running')
  return id
}

const authorization = (secret: string) => `Authorization: Bearer ${secret}`

/** As NDJSON, or as server-sent events. */
export async function followEvents(
  world: World,
  taskId: string,
  secret: string,
  form: 'ndjson' | 'sse' = 'ndjson',
): Promise<RawConnection> {
  const stream = await rawConnection(world.url)
  const accept = form === 'sse' ? ['Accept: text/event-stream'] : []
  stream.send(head(world.url, `GET /v1/tasks/${taskId}/events?follow=1 HTTP/1.1`, ...accept, authorization(secret)))
  await stream.until(form === 'sse' ? /event: state/ : /"state"/)
  return stream
}

export async function attachProcess(world: World, taskId: string, secret: string): Promise<RawConnection> {
  const webSocket = await rawConnection(world.url)
  const spec = Buffer.from(JSON.stringify({ argv: ['sleep', '298'] })).toString('base64url')
  const line = `GET /v1/tasks/${taskId}/processes/attach?spec=${spec} HTTP/1.1`
  webSocket.send(head(world.url, line, ...WEBSOCKET_HEADERS, authorization(secret)))
  await webSocket.until(/"type":"started"/)
  return webSocket
}
