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
  /** From the results, and from the messages that no result tells of: these at the price that the results had. */
  usage(): Usage
  /** The model was at work, and not one word says what that cost. */
  costUnknown(): boolean
  add(line: ClaudeLine): void
}

export function createTally(): Tally {
  /** By id; those that no result tells of yet. */
  let messages = new Map<string, Usage>()
  let reported: Usage | undefined
  let isAsked = false

  return {
    sessionId: undefined,
    result: undefined,
    calls: new Map(),
    denied: new Set(),
    usage() {
      const untold = sum([...messages.values()])
      const told = reported ?? NO_USAGE
      const turns = told.turns + messages.size
      return { ...sum([told, untold]), costUsd: told.costUsd + weight(untold) * pricePerWeight(told), turns }
    },
    costUnknown() {
      return this.usage().costUsd === 0 && (isAsked || weight(sum([...messages.values()])) > 0)
    },
    add(line) {
      this.sessionId = line.session_id ?? this.sessionId
      if (line.type === 'system' && line.subtype === 'permission_denied' && line.tool_use_id !== undefined)
        this.denied.add(line.tool_use_id)
      isAsked = isModelAsked(line, isAsked)
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
        const usage = resultUsage(line)
        // An interrupted program can give a result that says nothing: what was seen is more than that.
        if (saysNothing(usage)) return
        reported = sum([reported ?? NO_USAGE, usage])
        messages = new Map()
      }
    },
  }
}

/** From the start and from each answer of a tool on, the model is at work, until it spoke or refused. */
function isModelAsked(line: ClaudeLine, before: boolean): boolean {
  if (line.type === 'user') return true
  if (line.type === 'assistant') return false
  if (line.type === 'result') return before && saysNothing(resultUsage(line)) && line.api_error_status == null
  if (line.subtype === 'init') return true
  return line.subtype === 'api_retry' ? false : before
}

const saysNothing = (usage: Usage): boolean => usage.costUsd === 0 && weight(usage) === 0

/** Tokens as they are priced against each other, whatever the model: https://platform.claude.com/docs/en/about-claude/pricing */
const weight = (usage: Usage): number =>
  usage.inputTokens + 5 * usage.outputTokens + 0.1 * usage.cacheReadTokens + 1.25 * usage.cacheWriteTokens

const pricePerWeight = (usage: Usage): number => (weight(usage) === 0 ? 0 : usage.costUsd / weight(usage))

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
