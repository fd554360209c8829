/**
 * What a script sees of a request: the conversation as people would tell it. The wire format repeats everything in every
 * request, so a script needs no memory: which tool results are there says how far the work has come.
 */
import { z } from 'zod'

const Block = z.looseObject({ type: z.string() })
const TextBlock = z.looseObject({ type: z.literal('text'), text: z.string() })
const ToolUseBlock = z.looseObject({
  type: z.literal('tool_use'),
  id: z.string(),
  name: z.string(),
  input: z.unknown(),
})
const ToolResultBlock = z.looseObject({
  type: z.literal('tool_result'),
  tool_use_id: z.string(),
  content: z.union([z.string(), z.array(Block)]).optional(),
  is_error: z.boolean().optional(),
})
const Message = z.looseObject({ role: z.string(), content: z.union([z.string(), z.array(Block)]) })

/** Body of `POST /v1/messages`, as much of it as a script may want. */
export const MessagesRequest = z.looseObject({
  model: z.string(),
  messages: z.array(Message),
  system: z.union([z.string(), z.array(Block)]).optional(),
  tools: z.array(z.looseObject({ name: z.string() })).optional(),
  stream: z.boolean().optional(),
  max_tokens: z.number().optional(),
})
export type MessagesRequest = z.infer<typeof MessagesRequest>

export interface ToolCall {
  id: string
  name: string
  input: unknown
  /** Text of the tool's result; undefined while there is none. */
  result: string | undefined
  isError: boolean
}

export interface Conversation {
  model: string
  /** Names of the tools on offer. */
  tools: string[]
  /** What people said, oldest first, without the reminders that Claude Code adds. */
  prompts: string[]
  /** The newest of them. */
  prompt: string
  /** Tool calls since the newest prompt, oldest first. */
  calls: ToolCall[]
  /** Replies of the model since the newest prompt. */
  step: number
  /** Everything the model said, over all prompts. */
  said: string[]
  /** 1 for the first request with exactly these messages, 2 for its first repetition. */
  attempt: number
  request: MessagesRequest
}

/** Reads a request; `attempt` is the server's to know. */
export function readConversation(request: MessagesRequest, attempt: number): Conversation {
  const conversation: Conversation = {
    model: request.model,
    tools: (request.tools ?? []).map((tool) => tool.name),
    prompts: [],
    prompt: '',
    calls: [],
    step: 0,
    said: [],
    attempt,
    request,
  }
  for (const message of request.messages) {
    if (message.role === 'assistant') readReply(conversation, blocksOf(message.content))
    if (message.role === 'user') readUser(conversation, blocksOf(message.content))
  }
  return conversation
}

function readReply(conversation: Conversation, blocks: Blocks): void {
  conversation.step++
  conversation.said.push(...textsOf(blocks))
  for (const block of blocks) {
    const call = ToolUseBlock.safeParse(block)
    if (!call.success) continue
    const { id, name, input } = call.data
    conversation.calls.push({ id, name, input, result: undefined, isError: false })
  }
}

function readUser(conversation: Conversation, blocks: Blocks): void {
  const results = blocks.flatMap((block) => ToolResultBlock.safeParse(block).data ?? [])
  for (const result of results) {
    const call = conversation.calls.find(({ id }) => id === result.tool_use_id)
    if (call === undefined) continue
    call.result = textsOf(blocksOf(result.content ?? '')).join('\n')
    call.isError = result.is_error === true
  }
  const said = textsOf(blocks).filter((text) => !text.trimStart().startsWith('<system-reminder>'))
  if (results.length > 0 || said.length === 0) return
  conversation.prompt = said.join('\n')
  conversation.prompts.push(conversation.prompt)
  conversation.calls = []
  conversation.step = 0
}

type Blocks = z.infer<typeof Block>[]

function blocksOf(content: string | Blocks): Blocks {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content
}

function textsOf(blocks: Blocks): string[] {
  return blocks.flatMap((block) => TextBlock.safeParse(block).data?.text ?? [])
}
