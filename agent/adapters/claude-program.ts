/** Where Claude Code is, and how it is called for an unattended run. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findProgram, foldersOf, isExecutable } from '../../host/programs.ts'
import type { AdapterRun } from './adapter.ts'

/** Names the program to use, before any other place is looked at. */
export const CLAUDE_PATH_VARIABLE = 'RCLAUDE_CLAUDE'

const PACKAGE = join('node_modules', '@anthropic-ai', 'claude-code')
const VERSION_TIMEOUT_MS = 15_000

/** Looks at RCLAUDE_CLAUDE, then along PATH, then in the node_modules above this file. */
export async function findClaude(env: Record<string, string>): Promise<string | undefined> {
  const named = env[CLAUDE_PATH_VARIABLE]
  if (named) return (await isExecutable(named)) ? named : undefined
  // A relative entry would let the workspace say which program runs.
  const folders = foldersOf(env.PATH).filter(isAbsolute)
  return (await findProgram('claude', folders)) ?? installedBeside(dirname(fileURLToPath(import.meta.url)))
}

async function installedBeside(folder: string): Promise<string | undefined> {
  const home = join(folder, PACKAGE)
  const binary = await binaryOf(home).catch(() => undefined)
  if (binary !== undefined && (await isExecutable(binary))) return binary
  const parent = dirname(folder)
  return parent === folder ? undefined : installedBeside(parent)
}

async function binaryOf(packageFolder: string): Promise<string | undefined> {
  const manifest: unknown = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8'))
  const bin = typeof manifest === 'object' && manifest !== null && 'bin' in manifest ? manifest.bin : undefined
  const claude = typeof bin === 'object' && bin !== null && 'claude' in bin ? bin.claude : bin
  return typeof claude === 'string' ? join(packageFolder, claude) : undefined
}

/** Undefined when the program does not say a version: it is not what it claims to be. */
export async function claudeVersion(path: string, env: Record<string, string>): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ['--version'], { env, timeout: VERSION_TIMEOUT_MS })
    return /^\d+\.\d+\.\d+\S*/.exec(stdout.trim())?.[0]
  } catch {
    return undefined
  }
}

/**
 * The prompt goes to standard input, never into argv, where every user of the machine could read it. Values are joined
 * with `=`, so none can be taken for another option.
 */
export function claudeArguments(run: AdapterRun): string[] {
  return [
    '-p',
    '--output-format=stream-json',
    '--verbose', // stream-json wants it
    `--permission-mode=${run.permissionMode}`,
    ...(run.model === undefined ? [] : [`--model=${run.model}`]),
    ...(run.limits.maxTurns === undefined ? [] : [`--max-turns=${run.limits.maxTurns}`]),
    ...(run.limits.budgetUsd === undefined ? [] : [`--max-budget-usd=${run.limits.budgetUsd}`]),
    ...(run.resumeSessionId === undefined ? [] : [`--resume=${run.resumeSessionId}`]),
  ]
}

/** The run's own environment wins over what we add, except for HOME: that is where the session is looked for. */
export function claudeEnvironment(run: AdapterRun): Record<string, string> {
  const uid = run.user?.uid ?? process.getuid?.()
  const isRootUnasked = uid === 0 && run.permissionMode === 'bypassPermissions'
  return {
    DISABLE_AUTOUPDATER: '1',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    // Otherwise it leaves folders in the machine's /tmp that nobody removes.
    ...(run.env.TMPDIR === undefined && { CLAUDE_CODE_TMPDIR: join(run.home, '.tmp') }),
    // Claude Code refuses to skip permissions as root, unless it is told that it runs in a sandbox.
    ...(isRootUnasked && { IS_SANDBOX: '1' }),
    ...run.env,
    HOME: run.home,
  }
}
