/** `rclaude ls TASK[:PATH]`: what is in a running task's workspace. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import type { DirectoryEntry } from '../../protocol/file.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { joinPath, parseTaskPath } from '../files/location.ts'
import { RemoteFiles } from '../files/remote.ts'
import { oneLine } from '../neutralise.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface LsOptions {
  long?: boolean
  all?: boolean
  recursive?: boolean
}

const MARKS: Record<DirectoryEntry['type'], string> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  device: 'c',
}

export function define(world: World): Command {
  return newCommand('ls', 'list files of a running task', [
    'rclaude ls @last',
    'rclaude ls -la k3m:src',
    'rclaude ls -R k3m:dist',
  ])
    .argument('<task>', 'TASK or TASK:PATH')
    .option('-l, --long', 'mode, size and time as well')
    .option('-a, --all', 'names that begin with a dot too')
    .option('-R, --recursive', 'what is in directories too')
    .action(act(world, list))
}

async function list(invocation: Invocation, where: string, options: LsOptions): Promise<undefined> {
  const { out } = invocation
  const { task, path } = parseTaskPath(where)
  const { client } = await invocation.connect()
  const remote = new RemoteFiles(client, await findTask(client, task))
  const found = path === '' ? undefined : await remote.stat(path)
  if (path !== '' && found === undefined) throw new RclaudeError('not_found', `the task has no ${path}`)
  const show = async (entries: DirectoryEntry[]) => {
    if (out.json) return out.data(entries)
    const digits = Math.max(...entries.map(({ size }) => String(size).length), 1)
    for (const entry of entries) await out.line(options.long === true ? longLine(entry, digits) : oneLine(entry.name))
  }
  if (found !== undefined && found.type !== 'directory' && found.type !== 'symlink') {
    await show([found])
    return undefined
  }
  const directories = [path]
  for (let at = directories.shift(); at !== undefined; at = directories.shift()) {
    const entries = (await remote.list(at)).filter(({ name }) => options.all === true || !name.startsWith('.'))
    if (options.recursive === true && !out.json) await out.line(`${oneLine(at || '.')}:`)
    await show(entries)
    if (options.recursive !== true) break
    directories.unshift(...entries.filter(canEnter).map(({ name }) => joinPath(at ?? '', name)))
    if (directories.length > 0 && !out.json) await out.line()
  }
  return undefined
}

const canEnter = ({ type, nameBase64 }: DirectoryEntry): boolean => type === 'directory' && nameBase64 === undefined

function longLine({ type, mode, size, mtimeMs, name, target }: DirectoryEntry, digits: number): string {
  const bits = 'rwxrwxrwx'.replace(/./g, (letter, at: number) => ((mode >> (8 - at)) & 1 ? letter : '-'))
  const time = new Date(mtimeMs).toISOString().slice(0, 16).replace('T', ' ')
  const arrow = target === undefined ? '' : ` -> ${oneLine(target)}`
  return `${MARKS[type]}${bits} ${String(size).padStart(digits)} ${time} ${oneLine(name)}${arrow}`
}
