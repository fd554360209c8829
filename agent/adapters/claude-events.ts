/**
 * Turns Claude Code's lines into events, in the Agent Client Protocol's `session/update` vocabulary: words and thoughts
 * become chunks, a `tool_use` block a `tool_call`, its result a `tool_call_update`, the to-do list a `plan`.
 */
import type { EventBody, SessionUpdate } from '../../protocol/event.ts'
import {
  type Block,
  type ClaudeLine,
  ImageBlock,
  RetryLine,
  TextBlock,
  ThinkingBlock,
  ToolResultBlock,
  ToolUseBlock,
} from './claude-lines.ts'
import { bounded, describeTool, MAX_TEXT, type Plan, planOf, shortenText } from './claude-tools.ts'

export type EventMapper = (line: ClaudeLine) => EventBody[]

/** `cwd` makes the paths in titles short. The mapper remembers which calls were shown as a plan. */
export function createEventMapper({ cwd }: { cwd: string }): EventMapper {
  const planCalls = new Set<string>()

  return (line) => {
    switch (line.type) {
      case 'assistant':
        return line.message.content.flatMap((block) => ofAssistant(line, block))
      case 'user':
        return blocksOf(line.message.content).flatMap((block) => ofUser(line, block))
      case 'system':
        return ofSystem(line)
      case 'result':
        return [] // the session tells usage and outcome
      default:
        return line satisfies never
    }
  }

  function ofAssistant(line: Extract<ClaudeLine, { type: 'assistant' }>, block: Block): EventBody[] {
    const text = TextBlock.safeParse(block).data?.text
    if (text !== undefined && line.is_api_error_message === true) return [{ type: 'warning', message: text }]
    if (text !== undefined) return [chunk('agent_message_chunk', shortenText(text, MAX_TEXT), line)]
    const thought = ThinkingBlock.safeParse(block).data?.thinking
    if (thought !== undefined)
      return thought === '' ? [] : [chunk('agent_thought_chunk', shortenText(thought, MAX_TEXT), line)]
    const call = ToolUseBlock.safeParse(block).data
    if (call === undefined) return [{ type: 'raw', program: 'claude', line: bounded(block) }]

    const plan = planOf(call.name, call.input)
    if (plan !== undefined) return [asPlan(call.id, plan)]
    const { title, kind, locations, content } = describeTool(call.name, call.input, cwd)
    return [
      update({
        sessionUpdate: 'tool_call',
        toolCallId: call.id,
        name: call.name,
        title,
        kind,
        status: 'in_progress',
        rawInput: bounded(call.input),
        ...(locations.length > 0 && { locations }),
        ...(content.length > 0 && { content }),
        ...withMeta(line),
      }),
    ]
  }

  function asPlan(callId: string, plan: Plan): EventBody {
    planCalls.add(callId)
    return update({ sessionUpdate: 'plan', entries: plan })
  }

  function ofUser(line: Extract<ClaudeLine, { type: 'user' }>, block: Block): EventBody[] {
    const text = TextBlock.safeParse(block).data?.text
    if (text !== undefined) return [chunk('user_message_chunk', shortenText(text, MAX_TEXT), line)]
    const result = ToolResultBlock.safeParse(block).data
    if (result === undefined) return [{ type: 'raw', program: 'claude', line: bounded(block) }]
    if (planCalls.delete(result.tool_use_id)) return []
    const content = blocksOf(result.content ?? []).flatMap(resultContent)
    return [
      update({
        sessionUpdate: 'tool_call_update',
        toolCallId: result.tool_use_id,
        status: result.is_error === true ? 'failed' : 'completed',
        content,
        ...(line.tool_use_result !== undefined && { rawOutput: bounded(line.tool_use_result) }),
        ...withMeta(line),
      }),
    ]
  }
}

function ofSystem(line: Extract<ClaudeLine, { type: 'system' }>): EventBody[] {
  switch (line.subtype) {
    case 'init': {
      const { session_id: sessionId, model, claude_code_version: version, permissionMode } = line
      return [update({ sessionUpdate: 'session_info_update', _meta: { sessionId, model, version, permissionMode } })]
    }
    case 'api_retry': {
      const retry = RetryLine.safeParse(line).data
      return retry === undefined ? [raw(line)] : [{ type: 'warning', message: retryMessage(retry) }]
    }
    case 'informational':
      return typeof line.content === 'string' ? [{ type: 'warning', message: line.content }] : [raw(line)]
    case 'permission_denied': // the call's result says the same
    case 'thinking_tokens': // a counter that ticks while the model thinks
      return []
    default:
      return [raw(line)]
  }
}

function retryMessage({ attempt, max_retries, retry_delay_ms, error_status, error }: RetryLine): string {
  const what = error_status ? `answered ${error_status} (${error})` : `could not be reached (${error})`
  return `the model ${what}; retry ${attempt} of ${max_retries} in ${(retry_delay_ms / 1000).toFixed(1)} s`
}

function resultContent(block: Block): object[] {
  const text = TextBlock.safeParse(block).data?.text
  if (text !== undefined) return [{ type: 'content', content: { type: 'text', text: shortenText(text, MAX_TEXT) } }]
  const image = ImageBlock.safeParse(block).data?.source
  if (image === undefined || image.data.length > MAX_TEXT) return [] // rawOutput says what it was
  return [{ type: 'content', content: { type: 'image', data: image.data, mimeType: image.media_type } }]
}

type Origin = { parent_tool_use_id?: string | null | undefined }

function chunk(sessionUpdate: string, text: string, line: Origin): EventBody {
  return update({ sessionUpdate, content: { type: 'text', text }, ...withMeta(line) })
}

/** Words and calls of a sub-agent name the call that it works for. */
function withMeta({ parent_tool_use_id: parentToolCallId }: Origin): { _meta?: { parentToolCallId: string } } {
  return typeof parentToolCallId === 'string' ? { _meta: { parentToolCallId } } : {}
}

const update = (value: SessionUpdate): EventBody => ({ type: 'session_update', update: value })
const raw = (line: unknown): EventBody => ({ type: 'raw', program: 'claude', line: bounded(line) })

function blocksOf(content: string | Block[]): Block[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content
}
