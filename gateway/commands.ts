/** `gateway backup` and `gateway restore`: what is printed, and what is said of the key. */
import { resolve } from 'node:path'
import { RclaudeError } from '../protocol/errors.ts'
import { formatBytes } from '../protocol/units.ts'
import { VERSION } from '../protocol/version.ts'
import { backUp } from './backup/backup.ts'
import { restore } from './backup/restore.ts'

export interface CommandOptions {
  dataDirectory: string
  'without-key': boolean
  json: boolean
}

/** @throws RclaudeError `invalid` for a command that there is not */
export async function runCommand(words: readonly string[], options: CommandOptions): Promise<void> {
  const [name, path, ...more] = words
  if ((name !== 'backup' && name !== 'restore') || path === undefined || more.length > 0)
    throw new RclaudeError(
      'invalid',
      `"${words.join(' ')}" is no command: gateway backup FILE|DIR, gateway restore FILE|DIR`,
    )
  if (name === 'backup') await runBackup(resolve(path), options)
  else await runRestore(resolve(path), options)
}

async function runBackup(target: string, options: CommandOptions): Promise<void> {
  const { dataDirectory } = options
  const withKey = !options['without-key']
  const { files: all, ...facts } = await backUp({ dataDirectory, target, withKey, version: VERSION, progress })
  if (options.json) return print(JSON.stringify({ backup: target, ...facts, files: all.length }))
  print(
    `${target}: ${facts.tasks} task${facts.tasks === 1 ? '' : 's'}, ${all.length} files, ${formatBytes(facts.bytes)}, schema ${facts.schema}`,
  )
  if (facts.hasKey)
    note(
      `it holds the key and the administrator's token: whoever can read ${target} can do what you can (--without-key leaves them out)`,
    )
  else
    note(
      `without ${dataDirectory}/secret.key: keep that file elsewhere, secrets that no agent has got yet cannot be read without it`,
    )
}

async function runRestore(source: string, { dataDirectory, json }: CommandOptions): Promise<void> {
  const { files, ...facts } = await restore({ source, dataDirectory, progress })
  if (json) return print(JSON.stringify({ restored: dataDirectory, from: source, ...facts, files: files.length }))
  print(
    `${dataDirectory}: ${facts.tasks} task${facts.tasks === 1 ? '' : 's'}, ${formatBytes(facts.bytes)}, as of ${facts.takenAt}`,
  )
  if (!facts.hasKey) note(`put secret.key into ${dataDirectory} before you start the gateway, if you have it`)
  note('the gateway will launch and stop nothing until you say so with: rclaude gateway confirm-restore')
}

/** On a terminal only the newest line stays. */
function progress(message: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${message} \r`)
}

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const note = (line: string): void => void process.stderr.write(`gateway: ${line}\n`)
