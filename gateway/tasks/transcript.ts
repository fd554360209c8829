/** The conversation as Markdown, made from the event log while it is read. */
import type { TaskEvent } from '../../protocol/event.ts'
import type { Task } from '../../protocol/task.ts'
import { formatSeconds } from '../../protocol/units.ts'

/** Longest tool output shown; the event log has all of it. */
const MAX_TOOL_TEXT = 4_000

export async function* renderMarkdown(task: Task, batches: AsyncIterable<TaskEvent[]>): AsyncGenerator<string> {
  yield `# ${task.id}\n\n`
  let isInMessage = false
  for await (const events of batches) {
    for (const event of events) {
      const chunk = messageText(event)
      if (chunk !== undefined) {
        isInMessage = true
        yield chunk
        continue
      }
      const block = render(event)
      if (block === undefined) continue
      yield `${isInMessage ? '\n\n' : ''}${block}\n\n`
      isInMessage = false
    }
  }
  if (isInMessage) yield '\n'
}

/** Text of the coding agent comes in pieces that belong together. */
function messageText(event: TaskEvent): string | undefined {
  if (event.type !== 'session_update' || event.update.sessionUpdate !== 'agent_message_chunk') return undefined
  return textOf(event.update.content)
}

function render(event: TaskEvent): string | undefined {
  switch (event.type) {
    case 'turn_started':
      return `## Turn ${event.turn}\n\n${quote(event.prompt)}`
    case 'session_update':
      return renderUpdate(event.update)
    case 'turn_ended': {
      const { outcome, message, durationMs } = event.result
      return `**${outcome}** after ${formatSeconds(durationMs / 1000)}: ${message}`
    }
    default:
      return undefined
  }
}

function renderUpdate(update: Record<string, unknown>): string | undefined {
  if (update.sessionUpdate === 'tool_call') return `- **${String(update.title ?? 'tool')}**`
  if (update.sessionUpdate !== 'tool_call_update') return undefined
  const texts = Array.isArray(update.content)
    ? update.content.map((item: { content?: unknown }) => textOf(item.content))
    : []
  const text = texts.filter((one) => one !== undefined).join('\n')
  if (text === '') return undefined
  return fence(
    text.length > MAX_TOOL_TEXT ? `${text.slice(0, MAX_TOOL_TEXT)}\n... (${text.length - MAX_TOOL_TEXT} more)` : text,
  )
}

function textOf(content: unknown): string | undefined {
  const { type, text } = (content ?? {}) as { type?: unknown; text?: unknown }
  return type === 'text' && typeof text === 'string' ? text : undefined
}

const quote = (text: string): string =>
  text
    .split('\n')
    .map((line) => `> ${line}`)
    .join('\n')

/** A fence longer than any run of backticks inside. */
function fence(text: string): string {
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), ([run]) => run.length))
  const mark = '`'.repeat(longest + 1)
  return `${mark}\n${text}\n${mark}`
}
