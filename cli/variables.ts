/**
 * `--env` and `--secret`. A secret's value never stands on the command line, where every user of the machine can read it:
 * it comes from the environment, a file or standard input.
 */
import { readFile } from 'node:fs/promises'
import { RclaudeError } from '../protocol/errors.ts'
import { EnvName } from '../protocol/task.ts'

/** `NAME=value`, or `NAME` for the value that it has here. */
export function parseEnv(options: readonly string[], env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    options.map((option) => {
      const [name, value] = split(option, '--env')
      const found = value ?? env[name]
      if (found === undefined)
        throw new RclaudeError('invalid', `--env ${name}: this environment has no ${name}; give --env ${name}=VALUE`)
      return [name, found]
    }),
  )
}

/** Lines of `NAME=value`, taken as they are, or `NAME`; `#` begins a comment line. Of several the last counts. */
export async function readEnvFiles(files: readonly string[], env: NodeJS.ProcessEnv): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new RclaudeError('invalid', `--env-from: cannot read ${file} (${error.code})`)
    })
    const lines = text.split(/\r?\n/).map((line) => line.trimStart())
    for (const [at, line] of lines.entries()) {
      if (line === '' || line.startsWith('#')) continue
      const [name, value] = split(line, `--env-from ${file}, line ${at + 1},`)
      const known = value ?? env[name]
      if (known !== undefined) found[name] = known // as docker does: what is not set here is left out
    }
  }
  return found
}

export interface SecretSources {
  env: NodeJS.ProcessEnv
  /** All of standard input. */
  readStdin(): Promise<string>
}

/** `NAME` from the environment, `NAME=@file` from a file, `NAME=-` from standard input. */
export async function parseSecrets(
  options: readonly string[],
  { env, readStdin }: SecretSources,
  flag = '--secret',
): Promise<Record<string, string>> {
  const secrets: Record<string, string> = {}
  let stdinFor: string | undefined
  for (const option of options) {
    const [name, source] = split(option, flag)
    if (source === '-' && stdinFor !== undefined)
      throw new RclaudeError('invalid', `${flag} ${name}=-: standard input was read for ${stdinFor} already`)
    if (source === '-') stdinFor = name
    secrets[name] = await secretFrom(flag, name, source, env, readStdin)
  }
  return secrets
}

async function secretFrom(
  flag: string,
  name: string,
  source: string | undefined,
  env: NodeJS.ProcessEnv,
  readStdin: () => Promise<string>,
): Promise<string> {
  if (source === undefined) {
    const value = env[name]
    if (value !== undefined && value !== '') return value
    throw new RclaudeError(
      'invalid',
      `${flag} ${name}: this environment has no ${name}; set it, or give ${name}=@FILE or ${name}=-`,
    )
  }
  const value =
    source === '-'
      ? await readStdin()
      : source.startsWith('@')
        ? await fromFile(flag, name, source.slice(1))
        : undefined
  if (value === undefined)
    throw new RclaudeError(
      'invalid',
      `${flag} ${name}=... is refused: a value on the command line can be read by every user of this machine and stays in the shell's history. Give ${name} (from the environment), ${name}=@FILE or ${name}=- (standard input)`,
    )
  if (value === '') throw new RclaudeError('invalid', `${flag} ${name}: the value is empty`)
  return value
}

async function fromFile(flag: string, name: string, file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '')
  } catch (error) {
    throw new RclaudeError('invalid', `${flag} ${name}: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** `name` or `name=value`, as a label. */
export function parseLabels(options: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    options.map((option) => {
      const at = option.indexOf('=')
      return at < 0 ? [option, ''] : [option.slice(0, at), option.slice(at + 1)]
    }),
  )
}

/** The name is checked first, so that no message repeats what may be a value. */
function split(option: string, flag: string): [name: string, value: string | undefined] {
  const at = option.indexOf('=')
  const name = at < 0 ? option : option.slice(0, at)
  if (!EnvName.safeParse(name).success)
    throw new RclaudeError('invalid', `${flag} takes a name like MY_VARIABLE before the "="`)
  return [name, at < 0 ? undefined : option.slice(at + 1)]
}
