/**
 * Reads the configuration: file, then environment over it. A mistake is reported with the line it stands in, and all
 * mistakes at once.
 */
import { readFileSync } from 'node:fs'
import { type Document, isCollection, isPair, isScalar, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { GatewayConfig } from '../protocol/config.ts'
import { RclaudeError } from '../protocol/errors.ts'

const ENV_PREFIX = 'RCLAUDE_'

/**
 * @param file path of the YAML file; undefined for none
 * @throws RclaudeError `invalid` that names file, line and key
 */
export function loadConfig(file: string | undefined, env: NodeJS.ProcessEnv): GatewayConfig {
  const source = file === undefined ? undefined : parseFile(file)
  const fromFile: unknown = source?.document.toJS() ?? {}
  const { values, names } = fromEnvironment(env)
  const result = GatewayConfig.safeParse(merge(fromFile, values))
  if (result.success) return result.data
  const lines = result.error.issues.flatMap((issue) => describe(issue, source, names))
  throw new RclaudeError('invalid', `the configuration is not valid:\n${lines.map((line) => `  ${line}`).join('\n')}`)
}

interface Source {
  file: string
  document: Document
  lines: LineCounter
}

function parseFile(file: string): Source {
  const lines = new LineCounter()
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new RclaudeError('invalid', `cannot read the configuration ${file}: ${(error as Error).message}`)
  }
  const document = parseDocument(text, { lineCounter: lines })
  const broken = document.errors[0]
  if (broken) throw new RclaudeError('invalid', `${file}:${broken.linePos?.[0].line ?? 1}: ${broken.message}`)
  return { file, document, lines }
}

function describe(issue: z.core.$ZodIssue, source: Source | undefined, names: Map<string, string>): string[] {
  const places = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path]
  return places.map((path) => {
    const key = path.join('.')
    const message = issue.code === 'unrecognized_keys' ? 'unknown key' : issue.message
    const variable = names.get(key)
    if (variable !== undefined) return `${variable}: ${message}`
    return `${source ? `${source.file}:${lineOf(source, path)}: ` : ''}${key}: ${message}`
  })
}

/** Line of a key, or of the nearest one above it that exists. */
function lineOf({ document, lines }: Source, path: readonly PropertyKey[]): number {
  let offset = 0
  let node: unknown = document.contents
  for (const key of path) {
    if (!isCollection(node)) break
    const item = node.items.find((entry) => isPair(entry) && isScalar(entry.key) && entry.key.value === key)
    if (!isPair(item)) break
    if (isScalar(item.key)) offset = item.key.range?.[0] ?? offset
    node = item.value
  }
  return lines.linePos(offset).line
}

/** RCLAUDE_LIMITS__MAX_TASKS=5 becomes { limits: { maxTasks: 5 } }; only names of known top-level keys count. */
function fromEnvironment(env: NodeJS.ProcessEnv): { values: Record<string, unknown>; names: Map<string, string> } {
  const values: Record<string, unknown> = {}
  const names = new Map<string, string>()
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(ENV_PREFIX) || text === undefined) continue
    const path = name.slice(ENV_PREFIX.length).split('__').map(camelCase)
    const [top] = path
    if (top === undefined || !(top in GatewayConfig.shape)) continue
    setPath(values, path, scalar(text))
    names.set(path.join('.'), name)
  }
  return { values, names }
}

const camelCase = (part: string): string =>
  part.toLowerCase().replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** As YAML reads it: numbers, booleans and [lists] are what they look like. */
const scalar = (text: string): unknown => parseDocument(text).toJS() ?? text

function setPath(target: Record<string, unknown>, path: string[], value: unknown): void {
  const [head, ...tail] = path
  if (head === undefined) return
  if (tail.length === 0) {
    target[head] = value
    return
  }
  const next = isObject(target[head]) ? target[head] : {}
  target[head] = next
  setPath(next, tail, value)
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function merge(base: unknown, over: Record<string, unknown>): unknown {
  if (!isObject(base)) return Object.keys(over).length === 0 ? base : over
  const merged = { ...base }
  for (const [key, value] of Object.entries(over)) merged[key] = isObject(value) ? merge(merged[key], value) : value
  return merged
}
