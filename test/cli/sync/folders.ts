/** Two folders: one here, one of a real agent on loopback, and syncs between them as the command makes them. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type Ask, asking } from '../../../cli/sync/ask.ts'
import { Memory } from '../../../cli/sync/memory.ts'
import { type SyncOptions, syncOnce } from '../../../cli/sync/pass.ts'
import type { Rules } from '../../../cli/sync/plan.ts'
import type { Tally } from '../../../cli/sync/tally.ts'
import { createClient } from '../../../protocol/client.ts'
import { type Loopback, startLoopback } from '../../agent/http/loopback.ts'

export interface Folders {
  near: string
  far: string
  agent: Loopback
  options: SyncOptions
  /** What was done, in order. */
  done: string[]
  sync(rules?: Partial<Rules>, more?: Partial<SyncOptions>): Promise<Tally>
  /** Stands in the way of each request, so that a test can break it. */
  between: { ask: Ask }
}

const HEADERS = createClient({ baseUrl: '', token: 'none', version: 'test' }).headers

export async function makeFolders(): Promise<Folders> {
  const near = mkdtempSync(join(tmpdir(), 'rclaude-near-'))
  const agent = await startLoopback()
  onTestFinished(async () => {
    rmSync(near, { recursive: true, force: true })
    await agent.close()
  })
  const straight = asking({ client: { baseUrl: agent.url, headers: HEADERS }, taskId: '' })
  const between: Folders['between'] = {
    ask: (route, body, signal) => straight({ ...route, path: route.forward ?? '' }, body, signal),
  }
  const done: string[] = []
  const options: SyncOptions = {
    directory: near,
    far: {
      ask: (...call) => between.ask(...call),
      taskId: 'task_test',
      folder: '',
      signal: new AbortController().signal,
    },
    memory: new Memory(),
    selection: { ignore: true, exclude: [], include: [] },
    rules: { direction: 'both', delete: false, prefer: undefined },
    dryRun: false,
    force: false,
    umask: 0o022,
    now: () => new Date('2026-01-02T03:04:05Z'),
    onDone: (what, path) => done.push(`${what} ${path}`),
  }
  return {
    near,
    far: agent.workspace,
    agent,
    options,
    done,
    between,
    sync: (rules = {}, more = {}) => syncOnce({ ...options, ...more, rules: { ...options.rules, ...rules } }),
  }
}

export function write(root: string, files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
}

/** Every file and link below, with what it holds; links as `-> target`. */
export function contents(root: string, below = ''): Record<string, string> {
  const found: Record<string, string> = {}
  for (const entry of readdirSync(join(root, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`
    if (entry.name === '.git') continue
    if (entry.isDirectory()) Object.assign(found, contents(root, path))
    else if (entry.isSymbolicLink()) found[path] = `-> ${readlinkSync(join(root, path))}`
    else if (entry.isFile()) found[path] = readFileSync(join(root, path), 'utf8')
  }
  return found
}
