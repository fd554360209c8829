/** From the options of `run` to the body of `POST /v1/tasks`; the workspace and the secrets come later. */
import { readFile } from 'node:fs/promises'
import { RclaudeError } from '../protocol/errors.ts'
import { AGENTS, type AgentName, type CreateTaskInput, type OnDisconnect, PERMISSION_MODES } from '../protocol/task.ts'
import type { MachineOptions } from './machine.ts'
import type { RepoOptions } from './repo-credential.ts'
import { parseEnv, parseLabels } from './variables.ts'

export interface RunOptions extends RepoOptions, MachineOptions {
  file?: string
  agent?: AgentName
  model?: string
  modelProfile?: string
  permissionMode?: (typeof PERMISSION_MODES)[number]
  timeout?: number
  idle?: number
  budget?: number
  maxTurns?: number
  check?: string
  setup?: string
  env?: string[]
  secret?: string[]
  label?: string[]
  detach?: boolean
  keep?: number
  /** False with --no-workspace. */
  workspace: boolean
  launcher?: string
  forwardHost?: string[]
  directory?: string
  unsandboxed?: boolean
  /** Patterns as in .gitignore. */
  include?: string[]
  exclude?: string[]
  /** False with --no-project-file. */
  projectFile?: boolean
  yes?: boolean
  dryRun?: boolean
  /** Undefined for `keep`. */
  onDisconnect?: OnDisconnect
  idempotencyKey?: string
  /** False with --no-wait. */
  wait?: boolean
}

export { AGENTS, PERMISSION_MODES }

export interface Work {
  agent: AgentName
  prompt?: string
  command?: string[]
}

/**
 * What is to be done: a command after `--`, or a prompt from the command line, a file or standard input.
 * @throws {RclaudeError} `invalid` when it is not exactly one of these
 */
export async function readWork(
  prompt: string | undefined,
  options: Pick<RunOptions, 'agent' | 'file' | 'secret' | 'repoToken'>,
  afterDashes: readonly string[] | undefined,
  readStdin: () => Promise<string>,
): Promise<Work> {
  const given = [prompt !== undefined, options.file !== undefined, afterDashes !== undefined].filter(Boolean).length
  if (given > 1) throw new RclaudeError('invalid', 'give one of a prompt, -f FILE and `-- COMMAND...`, not several')
  if (afterDashes !== undefined) {
    if (options.agent !== undefined && options.agent !== 'command')
      throw new RclaudeError('invalid', `--agent ${options.agent} takes a prompt; a command after -- runs by itself`)
    if (afterDashes.length === 0) throw new RclaudeError('invalid', 'there is no command after --')
    return { agent: 'command', command: [...afterDashes] }
  }
  if (options.agent === 'command')
    throw new RclaudeError('invalid', '--agent command runs what stands after --: rclaude run -- npm test')
  const source = options.file ?? prompt
  if (source === undefined)
    throw new RclaudeError(
      'invalid',
      'what is to be done? Give a prompt: rclaude run "fix the failing test" (or -f FILE, or - for standard input)',
    )
  const fromStdin = source === '-'
  if (fromStdin && [...(options.secret ?? []), options.repoToken].some((secret) => secret?.endsWith('=-')))
    throw new RclaudeError('invalid', 'standard input cannot hold both the prompt and a secret')
  const text = fromStdin ? await readStdin() : options.file === undefined ? source : await promptFile(options.file)
  if (text.trim() === '') throw new RclaudeError('invalid', 'the prompt is empty')
  return { agent: options.agent ?? 'claude', prompt: text }
}

export function taskRequest(
  work: Work,
  options: RunOptions,
  workspace: CreateTaskInput['workspace'],
  env: NodeJS.ProcessEnv,
): CreateTaskInput {
  const { model, modelProfile, permissionMode, check, setup, launcher } = options
  const limits = {
    ...(options.timeout !== undefined && { timeoutSeconds: seconds('--timeout', options.timeout) }),
    ...(options.idle !== undefined && { idleSeconds: seconds('--idle', options.idle) }),
    ...(options.budget !== undefined && { budgetUsd: options.budget }),
    ...(options.maxTurns !== undefined && { maxTurns: options.maxTurns }),
  }
  return {
    ...work,
    ...(model !== undefined && { model }),
    ...(modelProfile !== undefined && { modelProfile }),
    ...(permissionMode !== undefined && { permissionMode }),
    ...(check !== undefined && { check }),
    ...(setup !== undefined && { setup }),
    ...(launcher !== undefined && { launcher }),
    ...(options.forwardHost !== undefined && { forwardHosts: options.forwardHost.map((host) => host.toLowerCase()) }),
    ...(options.onDisconnect !== undefined && { onDisconnect: options.onDisconnect }),
    limits,
    env: parseEnv(options.env ?? [], env),
    labels: parseLabels(options.label ?? []),
    keepSeconds: Math.ceil(options.keep ?? 0),
    workspace,
  }
}

function seconds(name: string, value: number): number {
  if (value < 1) throw new RclaudeError('invalid', `${name} must be at least 1s`)
  return Math.ceil(value)
}

async function promptFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new RclaudeError('invalid', `cannot read the prompt: ${(error as Error).message}`)
  }
}
