/** What Claude Code's tools are in the words of the Agent Client Protocol: a title, a kind, places, a diff. */
import { isAbsolute, relative } from 'node:path'

/** Longest text that an event carries; the program's own limits on tool output are far below. */
export const MAX_TEXT = 256 * 1024
/** Raw input and output above this size, as JSON, are left out: content and diff show what matters. */
const MAX_RAW = 64 * 1024
const MAX_TITLE = 120

const KINDS: Record<string, string> = {
  Bash: 'execute',
  BashOutput: 'read',
  Read: 'read',
  Edit: 'edit',
  MultiEdit: 'edit',
  Write: 'edit',
  NotebookEdit: 'edit',
  Glob: 'search',
  Grep: 'search',
  LS: 'search',
  ToolSearch: 'search',
  WebFetch: 'fetch',
  WebSearch: 'fetch',
  Task: 'think',
  Agent: 'think',
  ExitPlanMode: 'switch_mode',
  EnterPlanMode: 'switch_mode',
}

export interface ToolDescription {
  title: string
  kind: string
  locations: { path: string }[]
  content: { type: 'diff'; path: string; oldText: string | null; newText: string }[]
}

export function describeTool(name: string, input: Record<string, unknown>, cwd: string): ToolDescription {
  const path = textOf(input.file_path) ?? textOf(input.notebook_path) ?? textOf(input.path)
  return {
    title: titleOf(name, input, path, cwd),
    kind: KINDS[name] ?? 'other',
    locations: path === undefined ? [] : [{ path }],
    content: diffOf(name, input, path),
  }
}

function titleOf(name: string, input: Record<string, unknown>, path: string | undefined, cwd: string): string {
  const subject =
    textOf(input.command) ??
    (path && shortPath(path, cwd)) ??
    textOf(input.pattern) ??
    textOf(input.url) ??
    textOf(input.query) ??
    textOf(input.description)
  const title = name === 'Bash' ? (subject ?? name) : subject === undefined ? name : `${name} ${subject}`
  const firstLine = title.trim().split('\n', 1)[0] ?? name
  return firstLine.length > MAX_TITLE ? `${firstLine.slice(0, MAX_TITLE - 1)}…` : firstLine
}

function diffOf(name: string, input: Record<string, unknown>, path: string | undefined): ToolDescription['content'] {
  if (path === undefined) return []
  const diff = (oldText: string | null, newText: string) => [
    {
      type: 'diff' as const,
      path,
      oldText: oldText && shortenText(oldText, MAX_TEXT),
      newText: shortenText(newText, MAX_TEXT),
    },
  ]
  if (name === 'Write') return diff(null, textOf(input.content) ?? '')
  if (name === 'Edit') return diff(textOf(input.old_string) ?? '', textOf(input.new_string) ?? '')
  return []
}

export type Plan = { content: string; priority: 'medium'; status: 'pending' | 'in_progress' | 'completed' }[]

/** The to-do list as a plan; undefined for every other tool. */
export function planOf(name: string, input: Record<string, unknown>): Plan | undefined {
  if (name !== 'TodoWrite' || !Array.isArray(input.todos)) return undefined
  return input.todos.flatMap((todo: unknown) => {
    if (typeof todo !== 'object' || todo === null || !('content' in todo) || !('status' in todo)) return []
    const status = todo.status === 'completed' || todo.status === 'in_progress' ? todo.status : 'pending'
    return [{ content: String(todo.content), priority: 'medium' as const, status }]
  })
}

/** The value, or a note of its size when it is too large to repeat. */
export function bounded(value: unknown): unknown {
  const size = JSON.stringify(value)?.length ?? 0
  return size <= MAX_RAW ? value : { leftOut: `${size} characters of JSON` }
}

export function shortenText(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max)}\n[${text.length - max} more characters left out]`
}

function shortPath(path: string, cwd: string): string {
  const short = relative(cwd, path)
  return short === '' || short.startsWith('..') || isAbsolute(short) ? path : short
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)
