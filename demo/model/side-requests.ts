/**
 * Requests beside the conversation: Claude Code asks a model for a session title or the topic, counts tokens and pings
 * the host. They carry no tools, which is how they are told from the conversation, and take no step of a script.
 */
import type { ServerResponse } from 'node:http'
import type { MessagesRequest } from './conversation.ts'
import { say } from './reply.ts'
import { type ReplyContext, writeJson, writeMessage } from './stream.ts'

export function isSideRequest(request: MessagesRequest): boolean {
  return (request.tools ?? []).length === 0
}

export function answerSideRequest(
  response: ServerResponse,
  request: MessagesRequest,
  context: ReplyContext,
): Promise<void> {
  const system = JSON.stringify(request.system ?? '')
  const wantsJson = /isNewTopic|JSON/.test(system) || 'output_config' in request
  const text = wantsJson ? JSON.stringify({ isNewTopic: false, title: 'Scripted session' }) : 'Scripted session'
  return writeMessage(response, say(text, { usage: { input: 0, output: 0 } }), context)
}

/** Everything that is not `POST /v1/messages`. */
export function answerOther(response: ServerResponse, method: string, path: string): void {
  if (path === '/v1/messages/count_tokens') {
    writeJson(response, 200, { input_tokens: 1_000 })
  } else if (path === '/v1/models') {
    writeJson(response, 200, { data: [], has_more: false })
  } else if (method === 'HEAD' || path === '/api/hello') {
    response.writeHead(200).end()
  } else {
    writeJson(response, 404, {
      type: 'error',
      error: { type: 'not_found_error', message: `no ${method} ${path} here` },
    })
  }
}
