/** What a run of Claude Code came to so far: counted from its lines, so that a crash still has numbers. */
import { addUsage, NO_USAGE, type Usage } from '../../protocol/event.ts'
import { type ClaudeLine, type ResultLine, ToolUseBlock } from './claude-lines.ts'

/** Tools that only prepare work: a run that could use nothing else was still blocked. */
const PREPARING_TOOLS = new Set(['ToolSearch', 'TodoWrite'])

export interface Tally {
  sessionId: string | undefined
  /** The newest result line. */
  result: ResultLine | undefined
  /** Tool calls by id, with the tool's name; those that only prepare work are not counted. */
  calls: Map<string, string>
  denied: Set<string>
  /** From the results; without one, from the messages. */
  usage(): Usage
  add(line: ClaudeLine): void
}

export function createTally(): Tally {
  const messages = new Map<string, Usage>()
  let reported: Usage | undefined

  return {
    sessionId: undefined,
    result: undefined,
    calls: new Map(),
    denied: new Set(),
    usage() {
      return reported ?? { ...sum([...messages.values()]), turns: messages.size }
    },
    add(line) {
      this.sessionId = line.session_id ?? this.sessionId
      if (line.type === 'system' && line.subtype === 'permission_denied' && line.tool_use_id !== undefined)
        this.denied.add(line.tool_use_id)
      if (line.type === 'assistant' && line.is_api_error_message !== true) {
        // One message comes as a line per block, each with the same usage.
        messages.set(line.message.id, messageUsage(line.message.usage))
        for (const block of line.message.content) {
          const call = ToolUseBlock.safeParse(block).data
          if (call !== undefined && !PREPARING_TOOLS.has(call.name)) this.calls.set(call.id, call.name)
        }
      }
      if (line.type === 'result') {
        this.result = line
        for (const denial of line.permission_denials) this.denied.add(denial.tool_use_id)
        reported = sum([reported ?? NO_USAGE, resultUsage(line)])
      }
    },
  }
}

/** Of this run alone: in a resumed session `total_cost_usd` holds the earlier runs too, the per-model numbers don't. */
function resultUsage(line: ResultLine): Usage {
  const models = Object.values(line.model_usage_since_last_result ?? {})
  if (models.length === 0) return { ...messageUsage(line.usage), costUsd: line.total_cost_usd, turns: line.num_turns }
  const parts = models.map((model) => ({
    inputTokens: model.inputTokens,
    outputTokens: model.outputTokens,
    cacheReadTokens: model.cacheReadInputTokens,
    cacheWriteTokens: model.cacheCreationInputTokens,
    costUsd: model.costUSD,
    turns: 0,
  }))
  return { ...sum(parts), turns: line.num_turns }
}

function messageUsage(usage: ResultLine['usage']): Usage {
  if (usage === undefined) return NO_USAGE
  return {
    ...NO_USAGE,
    inputTokens: usage.input_tokens,
    outputTokens: usage.output_tokens,
    cacheReadTokens: usage.cache_read_input_tokens,
    cacheWriteTokens: usage.cache_creation_input_tokens,
  }
}

const sum = (parts: Usage[]): Usage => parts.reduce(addUsage, NO_USAGE)
