/** `rclaude cat TASK:PATH...`: raw into a pipe or file, harmless on a terminal. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { parseTaskPath } from '../files/location.ts'
import { RemoteFiles } from '../files/remote.ts'
import { neutralise } from '../neutralise.ts'
import { write } from '../output.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('cat', 'print files of a running task', [
    'rclaude cat @last:package.json',
    'rclaude cat k3m:logs/a.log k3m:logs/b.log > both.log',
  ])
    .argument('<files...>', 'each TASK:PATH')
    .action(act(world, print))
}

async function print(invocation: Invocation, files: string[]): Promise<undefined> {
  const { world } = invocation
  const { client } = await invocation.connect()
  for (const file of files) {
    const { task, path } = parseTaskPath(file)
    if (path === '') throw new RclaudeError('invalid', `"${file}" names no file: expected one like ${task}:src/main.ts`)
    const response = await new RemoteFiles(client, await findTask(client, task)).get(path)
    if (!response.headers.has('etag')) throw new RclaudeError('invalid', `${file} is a directory; see rclaude ls`)
    const decoder = new TextDecoder()
    for await (const piece of response.body ?? [])
      await write(world.stdout, world.stdout.isTTY ? neutralise(decoder.decode(piece, { stream: true })) : piece)
  }
  return undefined
}
