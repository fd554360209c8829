/** `rclaude edit TASK:PATH`: your editor on a copy, which goes back only when nobody changed the file meanwhile. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { baseName, parseTaskPath } from '../files/location.ts'
import { RemoteFiles } from '../files/remote.ts'
import { findTask } from '../task-name.ts'
import { variable, type World } from '../world.ts'

/** An editor would choke on more. */
const MAX_BYTES = 64 * 1024 * 1024

export function define(world: World): Command {
  return newCommand('edit', 'edit a file of a running task with your editor', [
    'rclaude edit @last:src/main.ts',
    'EDITOR="code --wait" rclaude edit k3m:.env',
  ])
    .argument('<file>', 'TASK:PATH; one that is not there is made')
    .action(act(world, edit))
}

async function edit(invocation: Invocation, file: string): Promise<undefined> {
  const { world, out } = invocation
  const { task, path } = parseTaskPath(file)
  if (path === '') throw new RclaudeError('invalid', `"${file}" names no file: expected one like ${task}:src/main.ts`)
  const { client } = await invocation.connect()
  const remote = new RemoteFiles(client, await findTask(client, task))
  const { text, etag } = await read(remote, path)
  const directory = await mkdtemp(join(tmpdir(), 'rclaude-edit-'))
  const copy = join(directory, baseName(path).replace(/[^\w.-]/g, '_'))
  await writeFile(copy, text, { mode: 0o600 })
  try {
    await runEditor(world, copy)
    const edited = await readFile(copy)
    if (edited.equals(text)) out.note('unchanged')
    else
      await remote.put(path, new Uint8Array(edited), {
        headers: etag === undefined ? { 'if-none-match': '*' } : { 'if-match': etag },
      })
  } catch (error) {
    if ((await readFile(copy).catch(() => text)).equals(text)) await rm(directory, { recursive: true, force: true })
    else out.note(`your version is kept in ${copy}`)
    if (error instanceof RclaudeError && error.code === 'precondition')
      throw new RclaudeError(
        'conflict',
        `${path} was changed in the task while you edited it; nothing was overwritten`,
        { cause: error },
      )
    throw error
  }
  await rm(directory, { recursive: true, force: true })
  return undefined
}

async function read(remote: RemoteFiles, path: string): Promise<{ text: Buffer; etag: string | undefined }> {
  const found = await remote.stat(path)
  if (found === undefined) return { text: Buffer.alloc(0), etag: undefined }
  const response = await remote.get(path)
  const etag = response.headers.get('etag') ?? undefined
  if (etag === undefined) throw new RclaudeError('invalid', `${path} is a directory`)
  if (Number(response.headers.get('content-length')) > MAX_BYTES)
    throw new RclaudeError('too_large', `${path} is too large to edit: use rclaude cp`)
  return { text: Buffer.from(await response.arrayBuffer()), etag }
}

/** The variable may hold options, as with git; a shell takes them apart. */
function runEditor(world: World, file: string): Promise<void> {
  const editor = variable(world, 'VISUAL') ?? variable(world, 'EDITOR') ?? 'vi'
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', `${editor} "$@"`, editor, file], { stdio: 'inherit', env: world.env })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new RclaudeError('invalid', `${editor} ended with ${code}; nothing was sent`)),
    )
  })
}
