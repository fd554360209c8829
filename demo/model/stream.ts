/**
 * Writes a reply the way the Anthropic Messages API does: server-sent events `message_start`, then per block
 * `content_block_start`, `content_block_delta`, `content_block_stop`, then `message_delta` with the stop reason and
 * `message_stop`; or one JSON document when the request did not ask for a stream.
 */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { DEFAULT_USAGE, type ErrorReply, type MessageReply, type TokenUsage } from './reply.ts'

const PIECE_CHARACTERS = 24

export interface ReplyContext {
  /** Number of this reply; makes the ids of message and tool calls. */
  number: number
  model: string
  stream: boolean
  signal: AbortSignal
}

type Block =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'text'; text: string }
  | { type: 'tool_use'; id: string; name: string; input: Record<string, unknown> }

export async function writeMessage(
  response: ServerResponse,
  reply: MessageReply,
  context: ReplyContext,
): Promise<void> {
  if (reply.delayMs !== undefined) await delay(reply.delayMs, undefined, { signal: context.signal })
  const message = messageOf(reply, context)
  if (!context.stream) return writeJson(response, 200, message)
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  const send = (type: string, data: object) =>
    write(response, `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`)

  const start = { ...message, content: [], stop_reason: null, usage: { ...message.usage, output_tokens: 1 } }
  await send('message_start', { message: start })
  for (const [index, block] of message.content.entries()) {
    await send('content_block_start', { index, content_block: emptied(block) })
    for (const delta of deltasOf(block)) {
      await send('content_block_delta', { index, delta })
      if (reply.pieceDelayMs !== undefined) await delay(reply.pieceDelayMs, undefined, { signal: context.signal })
    }
    if (reply.cut) return void response.destroy()
    await send('content_block_stop', { index })
  }
  const delta = { stop_reason: message.stop_reason, stop_sequence: null }
  await send('message_delta', { delta, usage: message.usage })
  await send('message_stop', {})
  response.end()
}

const ERROR_TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
  529: 'overloaded_error',
}

export function writeError(response: ServerResponse, reply: ErrorReply): void {
  const error = { type: ERROR_TYPES[reply.status] ?? 'api_error', message: reply.message }
  writeJson(response, reply.status, { type: 'error', error, request_id: 'req_scripted' }, reply.headers)
}

export function writeJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers?: Record<string, string>,
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

function messageOf(reply: MessageReply, context: ReplyContext) {
  const tools = reply.tools ?? []
  const content: Block[] = [
    ...(reply.thinking === undefined
      ? []
      : [{ type: 'thinking' as const, thinking: reply.thinking, signature: 'c2lnbmVk' }]),
    ...(reply.text === undefined ? [] : [{ type: 'text' as const, text: reply.text }]),
    ...tools.map(({ name, input }, index) => ({
      type: 'tool_use' as const,
      id: `toolu_${context.number}_${index}`,
      name,
      input,
    })),
  ]
  return {
    id: `msg_${context.number}`,
    type: 'message',
    role: 'assistant',
    model: context.model,
    content,
    stop_reason: tools.length > 0 ? 'tool_use' : 'end_turn',
    stop_sequence: null,
    usage: wireUsage({ ...DEFAULT_USAGE, ...reply.usage }),
  }
}

const wireUsage = (usage: TokenUsage) => ({
  input_tokens: usage.input,
  output_tokens: usage.output,
  cache_read_input_tokens: usage.cacheRead,
  cache_creation_input_tokens: usage.cacheWrite,
})

function emptied(block: Block): Block {
  if (block.type === 'thinking') return { ...block, thinking: '', signature: '' }
  return block.type === 'text' ? { ...block, text: '' } : { ...block, input: {} }
}

function deltasOf(block: Block): object[] {
  if (block.type === 'text') return pieces(block.text).map((text) => ({ type: 'text_delta', text }))
  if (block.type === 'tool_use')
    return pieces(JSON.stringify(block.input)).map((partial_json) => ({ type: 'input_json_delta', partial_json }))
  return [
    ...pieces(block.thinking).map((thinking) => ({ type: 'thinking_delta', thinking })),
    { type: 'signature_delta', signature: block.signature },
  ]
}

/** Cuts between characters, never inside a surrogate pair. */
function pieces(text: string): string[] {
  return text.match(new RegExp(`.{1,${PIECE_CHARACTERS}}`, 'gsu')) ?? []
}

async function write(response: ServerResponse, text: string): Promise<void> {
  if (response.destroyed) throw new Error('the client went away')
  if (!response.write(text)) await Promise.race([once(response, 'drain'), once(response, 'close')])
}
