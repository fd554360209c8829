/**
 * `.rclaude.yaml`, at the top of a repository: how its tasks are set up, checked and bounded. The command line goes over it.
 *
 * It comes with the repository, so it is not trusted: it names no variable that says where the model's credentials go or
 * what a program loads, takes no value from the user's environment, and asks for no secret that the user does not pass.
 */
import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { invalid, RclaudeError } from '../protocol/errors.ts'
import { Cpus, ImageName, MemoryBytes } from '../protocol/machine.ts'
import { AGENTS, type AgentName, EnvName } from '../protocol/task.ts'
import { Duration, formatBytes, Size } from '../protocol/units.ts'
import type { RunOptions } from './task-request.ts'

export const PROJECT_FILE = '.rclaude.yaml'
const MAX_BYTES = 64 * 1024

const STEERING =
  /^(ANTHROPIC|CLAUDE|RCLAUDE|AWS|GOOGLE|VERTEX|CLOUD_ML|GIT|SSH|NODE|NPM_CONFIG|LD|DYLD)_|_PROXY$|^(PATH|HOME|SHELL|BASH_ENV|ENV|IS_SANDBOX)$/i
/** A record's own message for a wrong key does not say why. */
function refuseSteering(env: Record<string, string>, context: z.RefinementCtx): void {
  for (const name of Object.keys(env))
    if (STEERING.test(name))
      context.addIssue({
        code: 'custom',
        path: [name],
        message:
          'steers model access, git or how programs are loaded, so no file of a repository may set it: pass it with --env',
      })
}

const text = z.string().min(1)
const list = z.union([text.transform((one) => [one]), z.array(text)])
const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String)

export const ProjectFile = z.strictObject({
  /** Of AGENTS, but no plain command: that stands after `--`. */
  agent: z.enum(AGENTS.filter((name) => name !== 'command') as [AgentName]).optional(),
  model: text.optional(),
  /** Shell command that prepares the workspace, before the coding agent starts. */
  setup: text.optional(),
  /** Shell command that says whether the result is good. */
  check: text.optional(),
  image: ImageName.optional(),
  cpu: Cpus.optional(),
  memory: Size.pipe(MemoryBytes).optional(),
  docker: z.boolean().optional(),
  /** Patterns as in .gitignore: ignored files that go along, and others that do not. */
  include: list.optional(),
  exclude: list.optional(),
  env: z.record(EnvName, scalar).superRefine(refuseSteering).optional(),
  /** Secrets without which the task makes no sense: `run` asks for `--secret NAME`. */
  secrets: z.array(EnvName).optional(),
  limits: z
    .strictObject({
      timeout: Duration.optional(),
      idle: Duration.optional(),
      budget: z.number().positive().optional(),
      maxTurns: z.number().int().positive().optional(),
    })
    .optional(),
})
export type ProjectFile = z.infer<typeof ProjectFile>

export interface Project {
  file: string
  settings: ProjectFile
}

/** Looks in `folder` and above it, up to the top of the repository. @throws {RclaudeError} `invalid` for a file that is wrong */
export async function readProject(folder: string): Promise<Project | undefined> {
  const file = findProject(folder)
  if (file === undefined) return undefined
  const { size } = await stat(file)
  if (size > MAX_BYTES) throw new RclaudeError('invalid', `${file} is larger than ${formatBytes(MAX_BYTES)}`)
  const parsed = ProjectFile.safeParse((await parse(file)) ?? {})
  if (!parsed.success) throw invalid(file, parsed.error)
  return { file, settings: parsed.data }
}

function findProject(folder: string): string | undefined {
  const root = topOfRepository(folder)
  for (let at = folder; ; at = dirname(at)) {
    const file = join(at, PROJECT_FILE)
    if (existsSync(file)) return file
    if (root === undefined || at === root) return undefined
  }
}

/** By its `.git`, which is a file in worktrees and submodules. */
export function topOfRepository(folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(join(at, '.git'))) return at
    if (at === dirname(at)) return undefined
  }
}

async function parse(file: string): Promise<unknown> {
  const [{ parseYaml }, text] = await Promise.all([import('./yaml.ts'), readFile(file, 'utf8')])
  try {
    return parseYaml(text)
  } catch (cause) {
    throw new RclaudeError('invalid', `${file} is no valid YAML: ${(cause as Error).message}`, { cause })
  }
}

/**
 * What the user says goes over what the file says; lists are joined.
 * @param isCommand a plain command is no coding agent's work: it has no model, and is its own check
 */
export function withProject(options: RunOptions, { file, settings }: Project, isCommand: boolean): RunOptions {
  requireSecrets(options, file, settings.secrets ?? [])
  const { agent, model, setup, check, limits = {}, env = {} } = settings
  const ofWork = isCommand ? { timeout: limits.timeout } : { agent, model, check, ...limits }
  const defaults = Object.entries({ setup, ...ofWork }).filter(([, value]) => value !== undefined)
  return {
    ...(Object.fromEntries(defaults) as Partial<RunOptions>),
    ...options,
    env: [...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...(options.env ?? [])],
    include: [...(settings.include ?? []), ...(options.include ?? [])],
    exclude: [...(settings.exclude ?? []), ...(options.exclude ?? [])],
  }
}

function requireSecrets(options: RunOptions, file: string, names: readonly string[]): void {
  const given = new Set((options.secret ?? []).map((secret) => secret.split('=')[0]))
  const missing = names.filter((name) => !given.has(name))
  if (missing.length > 0)
    throw new RclaudeError(
      'invalid',
      `${file} needs ${missing.join(', ')}: pass ${missing.map((name) => `--secret ${name}`).join(' ')}, or leave the file aside with --no-project-file`,
    )
}
