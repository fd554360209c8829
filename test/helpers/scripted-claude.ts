/** Runs the real Claude Code against a scripted model, in a HOME and a directory of its own. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { Adapter, AdapterResult, AdapterRun } from '../../agent/adapters/adapter.ts'
import { claude } from '../../agent/adapters/claude.ts'
import { type ModelServer, type Script, startModelServer } from '../../demo/model-server.ts'
import { type EventBody, EventBody as EventSchema } from '../../protocol/event.ts'
import { temporaryDirectory } from './temporary.ts'

export const CLAUDE_BINARY = fileURLToPath(new URL('../../node_modules/.bin/claude', import.meta.url))

export interface ScriptedClaude {
  server: ModelServer
  /** Claude's working directory. */
  cwd: string
  home: string
  run(overrides?: Partial<AdapterRun>): AdapterRun
}

export async function scriptedClaude(script: Script): Promise<ScriptedClaude> {
  const directory = temporaryDirectory()
  const [cwd, home] = [join(directory, 'work'), join(directory, 'home')]
  for (const folder of [cwd, home]) mkdirSync(folder)
  const server = await startModelServer({ script })
  onTestFinished(() => server.close())
  const env = {
    PATH: process.env.PATH ?? '',
    RCLAUDE_CLAUDE: CLAUDE_BINARY,
    ANTHROPIC_API_KEY: 'sk-scripted',
    ANTHROPIC_BASE_URL: server.url,
    CLAUDE_CODE_MAX_RETRIES: '1', // the default of 10 waits for three minutes
  }
  return {
    server,
    cwd,
    home,
    run: ({ env: more, ...overrides } = {}) => ({
      prompt: 'do it',
      cwd,
      home,
      permissionMode: 'bypassPermissions',
      limits: {},
      env: { ...env, ...more },
      ...overrides,
    }),
  }
}

/** Reads a session to its end. Each event is checked against the protocol. */
export async function finish(
  run: AdapterRun,
  adapter: Adapter = claude,
  onEvent: (event: EventBody) => void = () => {},
): Promise<{ events: EventBody[]; result: AdapterResult }> {
  const session = await adapter.start(run)
  onTestFinished(() => session.stop())
  const events: EventBody[] = []
  for await (const event of session.events) {
    events.push(EventSchema.parse(event))
    onEvent(event)
  }
  return { events, result: await session.result }
}

/** A program around the real one: `before` and `after` are shell commands. */
export function wrappedClaude(directory: string, parts: { before?: string; after?: string }): string {
  const path = join(directory, 'wrapped-claude.sh')
  writeFileSync(path, `#!/bin/sh\n${parts.before ?? ':'}\n"${CLAUDE_BINARY}" "$@"\n${parts.after ?? ''}\n`)
  chmodSync(path, 0o755)
  return path
}

/**
 * True while it runs. A process that was killed keeps its pid until its parent has asked for its exit code; when the
 * parent went first, that is whenever pid 1 gets to it.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !['Z', 'X'].includes(stat.charAt(stat.lastIndexOf(')') + 2))
  } catch (error) {
    // Gone; or a system without /proc, where the signal that could be sent has to do.
    return process.platform !== 'linux' && !(error instanceof Error && 'code' in error && error.code === 'ESRCH')
  }
}
