/** A server on loopback that answers as a test says: for what a real gateway does only by accident, such as breaking off. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { type Client, createClient } from '../../../protocol/client.ts'
import type { Task } from '../../../protocol/task.ts'

export interface Loopback {
  url: string
  client: Client
  /** Method, path and query of every request, in order. */
  requests: string[]
  /** The Authorization headers that came. */
  tokens: (string | undefined)[]
}

export async function loopback(
  answer: (request: IncomingMessage, response: ServerResponse, url: URL) => void,
): Promise<Loopback> {
  const requests: string[] = []
  const tokens: (string | undefined)[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    tokens.push(request.headers.authorization)
    answer(request, response, new URL(request.url ?? '/', 'http://loopback'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, requests, tokens, client: createClient({ baseUrl: url, token: 'rct_test', version: 'test' }) }
}

export function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

export function sendProblem(response: ServerResponse, status: number, code: string, detail: string): void {
  const problem = { type: 'about:blank', title: code, status, code, detail, requestId: 'req_test' }
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
}

const USAGE = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, costUsd: 0, turns: 0 }

/** A task that ended well, with what a test changes. */
export function aTask(changes: Record<string, unknown> = {}): Task {
  const at = '2026-01-02T03:04:05.000Z'
  return {
    id: 'task_abcdefghjkmn',
    owner: 'ana',
    spec: {
      agent: 'claude',
      prompt: 'fix it',
      permissionMode: 'bypassPermissions',
      limits: {},
      env: {},
      labels: {},
      keepSeconds: 0,
      workspace: { kind: 'snapshot', objectFormat: 'sha1' },
    },
    createdAt: at,
    turns: [
      {
        turn: 1,
        prompt: 'fix it',
        createdAt: at,
        startedAt: at,
        endedAt: at,
        result: {
          outcome: 'succeeded',
          reason: 'completed',
          message: 'Claude finished',
          check: { verdict: 'none' },
          usage: USAGE,
          durationMs: 62_000,
          filesChanged: 0,
        },
      },
    ],
    workspace: {},
    usage: USAGE,
    lastSeq: 0,
    state: 'ended',
    outcome: 'succeeded',
    reason: 'completed',
    message: 'Claude finished',
    endedAt: at,
    incomplete: false,
    ...changes,
  } as Task
}
