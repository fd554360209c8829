/**
 * What the views need of the Agent Client Protocol's `session/update`, read defensively: the updates come from the
 * machine of the task, and an agent may send shapes that are newer than this program.
 */
import { z } from 'zod'
import type { SessionUpdate } from '../protocol/event.ts'

const Text = z.object({ type: z.literal('text'), text: z.string() })
const Chunk = z.object({ content: Text, messageId: z.string().nullish() })

const ToolStatus = z.enum(['pending', 'in_progress', 'completed', 'failed'])
const ToolContent = z.object({ type: z.literal('content'), content: Text })
const ToolCall = z.object({
  toolCallId: z.string(),
  title: z.string().nullish(),
  /** The tool's own name. */
  name: z.string().nullish().catch(undefined),
  status: ToolStatus.nullish().catch(undefined),
  content: z.array(z.unknown()).nullish().catch(undefined),
})

const PlanEntry = z.object({ content: z.string(), status: z.enum(['pending', 'in_progress', 'completed']) })
const Plan = z.object({ entries: z.array(PlanEntry) })
export type PlanEntry = z.infer<typeof PlanEntry>

export type ReadUpdate =
  | { kind: 'text' | 'thought' | 'user'; text: string; messageId: string | undefined }
  | {
      kind: 'tool'
      id: string
      title: string | undefined
      status: z.infer<typeof ToolStatus> | undefined
      /** Text that the call gave back. */
      output: string | undefined
    }
  | { kind: 'plan'; entries: PlanEntry[] }

/** Undefined for what has no place in a view. */
export function readUpdate(update: SessionUpdate): ReadUpdate | undefined {
  switch (update.sessionUpdate) {
    case 'agent_message_chunk':
      return chunk('text', update)
    case 'agent_thought_chunk':
      return chunk('thought', update)
    case 'user_message_chunk':
      return chunk('user', update)
    case 'tool_call':
    case 'tool_call_update':
      return tool(update)
    case 'plan': {
      const plan = Plan.safeParse(update)
      return plan.success ? { kind: 'plan', entries: plan.data.entries } : undefined
    }
    default:
      return undefined
  }
}

function chunk(kind: 'text' | 'thought' | 'user', update: SessionUpdate): ReadUpdate | undefined {
  const parsed = Chunk.safeParse(update)
  return parsed.success
    ? { kind, text: parsed.data.content.text, messageId: parsed.data.messageId ?? undefined }
    : undefined
}

function tool(update: SessionUpdate): ReadUpdate | undefined {
  const parsed = ToolCall.safeParse(update)
  if (!parsed.success) return undefined
  const { toolCallId, title, status, content } = parsed.data
  const texts = (content ?? []).flatMap((item) => {
    const text = ToolContent.safeParse(item)
    return text.success ? [text.data.content.text] : []
  })
  return {
    kind: 'tool',
    id: toolCallId,
    title: titled(title ?? undefined, parsed.data.name ?? undefined),
    status: status ?? undefined,
    output: texts.length === 0 ? undefined : texts.join('\n'),
  }
}

/** `npm test` of the tool Bash reads `Bash npm test`; `Read a.ts` says it already. */
function titled(title: string | undefined, toolName: string | undefined): string | undefined {
  if (title === undefined || toolName === undefined || title.startsWith(toolName)) return title
  return `${toolName} ${title}`
}
