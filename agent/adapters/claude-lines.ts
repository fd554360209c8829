/**
 * The lines that Claude Code prints with `--output-format stream-json`, as much of them as we use (measured on 2.1.330).
 * Everything else is carried along untouched: the program grows new members in every version.
 */
import { z } from 'zod'

const Tokens = z.number().nonnegative().catch(0)
export const MessageUsage = z.looseObject({
  input_tokens: Tokens,
  output_tokens: Tokens,
  cache_read_input_tokens: Tokens,
  cache_creation_input_tokens: Tokens,
})

const Block = z.looseObject({ type: z.string() })
export type Block = z.infer<typeof Block>
const Content = z.union([z.string(), z.array(Block)])

export const TextBlock = z.looseObject({ type: z.literal('text'), text: z.string() })
export const ThinkingBlock = z.looseObject({ type: z.literal('thinking'), thinking: z.string() })
export const ImageBlock = z.looseObject({
  type: z.literal('image'),
  source: z.looseObject({ type: z.literal('base64'), media_type: z.string(), data: z.string() }),
})
export const ToolUseBlock = z.looseObject({
  type: z.literal('tool_use'),
  id: z.string(),
  name: z.string(),
  input: z.record(z.string(), z.unknown()).catch({}),
})
export const ToolResultBlock = z.looseObject({
  type: z.literal('tool_result'),
  tool_use_id: z.string(),
  content: Content.optional(),
  is_error: z.boolean().nullish(),
})

const common = { session_id: z.string().optional(), parent_tool_use_id: z.string().nullish() }

export const AssistantLine = z.looseObject({
  ...common,
  type: z.literal('assistant'),
  message: z.looseObject({ id: z.string(), content: z.array(Block), usage: MessageUsage.optional() }),
  /** The program's own words on a refusal of the model, said in the assistant's place. */
  is_api_error_message: z.boolean().optional(),
})

export const UserLine = z.looseObject({
  ...common,
  type: z.literal('user'),
  message: z.looseObject({ content: Content }),
  /** What the tool gave, as the program holds it. */
  tool_use_result: z.unknown().optional(),
})

/** `init`, `api_retry`, `permission_denied`, `thinking_tokens`, `informational`, `compact_boundary` and more. */
export const SystemLine = z.looseObject({
  ...common,
  type: z.literal('system'),
  subtype: z.string(),
  tool_use_id: z.string().optional(),
})

export const RetryLine = z.looseObject({
  attempt: z.number(),
  max_retries: z.number(),
  retry_delay_ms: z.number(),
  error_status: z.number().nullish(),
  error: z.string(),
})
export type RetryLine = z.infer<typeof RetryLine>

export const ModelUsage = z.looseObject({
  inputTokens: Tokens,
  outputTokens: Tokens,
  cacheReadInputTokens: Tokens,
  cacheCreationInputTokens: Tokens,
  costUSD: Tokens,
})

export const ResultLine = z.looseObject({
  ...common,
  type: z.literal('result'),
  subtype: z.string(),
  is_error: z.boolean().catch(false),
  num_turns: z.number().int().nonnegative().catch(0),
  /** Over the whole session, earlier runs of a resumed one included. */
  total_cost_usd: Tokens,
  usage: MessageUsage.optional(),
  /** What this run used, per model; newer versions only. */
  model_usage_since_last_result: z.record(z.string(), ModelUsage).optional(),
  permission_denials: z.array(z.looseObject({ tool_name: z.string(), tool_use_id: z.string() })).catch([]),
  result: z.string().optional(),
  errors: z.array(z.string()).catch([]),
  terminal_reason: z.string().nullish(),
  api_error_status: z.number().nullish(),
  api_error: z.string().nullish(),
})
export type ResultLine = z.infer<typeof ResultLine>

export const ClaudeLine = z.discriminatedUnion('type', [AssistantLine, UserLine, SystemLine, ResultLine])
export type ClaudeLine = z.infer<typeof ClaudeLine>

/** The line as JSON, or undefined for what is none: warnings of runtimes, debug output. */
export function parseJsonLine(text: string): unknown {
  if (!text.startsWith('{')) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
