/** `rclaude cp SRC... DST`: files and trees between here and a running task, as scp and docker cp do it. */
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { download } from '../files/download.ts'
import { baseName, joinPath, type Location, parseLocation } from '../files/location.ts'
import { Progress } from '../files/progress.ts'
import { RemoteFiles } from '../files/remote.ts'
import { endsAll, type Transfer, wordsOf } from '../files/transfer.ts'
import { upload } from '../files/upload.ts'
import { oneLine } from '../neutralise.ts'
import { write } from '../output.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

type Remote = Extract<Location, { kind: 'task' }>
type Local = Extract<Location, { kind: 'local' }>

export function define(world: World): Command {
  return newCommand('cp', 'copy files and trees from and to a running task', [
    'rclaude cp @last:report.pdf .',
    'rclaude cp -q fixtures k3m:test/       into the directory test',
    'rclaude cp k3m:dist/. public           what is in dist',
    'rclaude cp k3m:logs - | tar t          a directory as tar; a file as it is',
  ])
    .argument('<paths...>', 'sources, then the destination; one side is TASK:PATH, the other a path here or -')
    .usage('[options] <source...> <destination>')
    .option('-q, --quiet', 'no progress bar')
    .addHelpText(
      'after',
      `
Exit codes: 0 all of it is there; 1 something is not, or changed while it was copied: each such path is named on
stderr, and the others were copied; 2 the call is wrong; 125 the gateway or the task cannot be reached.`,
    )
    .action(act(world, copy))
}

async function copy(invocation: Invocation, paths: string[], options: { quiet?: boolean }): Promise<number> {
  const { world, out } = invocation
  const last = paths.at(-1) ?? ''
  const sources = paths.slice(0, -1).map(parseLocation)
  const target = parseLocation(last)
  if (sources.length === 0) throw new RclaudeError('invalid', `where to? rclaude cp ${last} DESTINATION`)
  const taskNames = new Set([...sources, target].flatMap((one) => (one.kind === 'task' ? [one.task] : [])))
  const [task] = taskNames
  const isUpload = target.kind === 'task'
  if (task === undefined || taskNames.size > 1 || sources.some(({ kind }) => (kind === 'task') === isUpload))
    throw new RclaudeError('invalid', 'one side is a task, as in k3m:src/main.ts, and the other is here')
  const { client } = await invocation.connect()
  const remote = new RemoteFiles(client, await findTask(client, task))
  let failures = 0
  const progress = new Progress(world.stderr, options.quiet === true || out.json)
  const say = (text: string) => {
    progress.clear()
    out.note(`rclaude: ${oneLine(text)}`)
  }
  const transfer: Transfer = {
    progress,
    warn: say,
    failed: (path, error) => {
      if (endsAll(error)) throw error
      failures++
      say(`${path}: ${wordsOf(error)}`)
    },
  }
  const isSeveral = sources.length > 1
  for (const [index, source] of sources.entries())
    try {
      if (target.kind === 'task') await send(world, remote, transfer, source, target, isSeveral)
      else await fetchTo(world, remote, transfer, source as Remote, target, isSeveral)
    } catch (error) {
      if (!isSeveral) throw error
      transfer.failed(paths[index] ?? '', error)
    }
  progress.clear()
  return failures === 0 ? 0 : 1
}

async function send(
  world: World,
  remote: RemoteFiles,
  transfer: Transfer,
  source: Location,
  target: Remote,
  isSeveral: boolean,
) {
  const present = target.path === '' ? 'directory' : (await remote.stat(target.path))?.type
  const isDirectory = present === 'directory'
  if (source.kind === 'stream') {
    const body = Readable.toWeb(world.stdin) as never
    if (isDirectory) await remote.unpack(target.path, body)
    else await remote.put(target.path, body)
    return
  }
  const { path, contents } = source as Local
  if (isSeveral && !isDirectory)
    throw new RclaudeError('invalid', `${target.path} is no directory in the task, so it cannot take several`)
  const from = resolve(world.cwd, path)
  const into = contents || !(isDirectory || target.path === '') ? target.path : joinPath(target.path, basename(from))
  await upload(remote, transfer, from, into)
}

async function fetchTo(
  world: World,
  remote: RemoteFiles,
  transfer: Transfer,
  source: Remote,
  target: Exclude<Location, Remote>,
  isSeveral: boolean,
) {
  if (target.kind === 'stream') return toStdout(world, remote, transfer, source.path)
  const path = resolve(world.cwd, target.path)
  const isDirectory = (await stat(path).catch(() => undefined))?.isDirectory() === true
  if (!isDirectory && (isSeveral || target.path.endsWith('/')))
    throw new RclaudeError('invalid', `${target.path} is no directory here`)
  const name = baseName(source.path) || remote.taskId
  await download(remote, transfer, source.path, isDirectory && !source.contents ? join(path, name) : path)
}

async function toStdout(world: World, remote: RemoteFiles, transfer: Transfer, path: string): Promise<void> {
  const response = await remote.get(path, { query: { format: 'tar' } })
  const isTar = response.headers.get('content-type') === 'application/x-tar'
  if (isTar && world.stdout.isTTY)
    throw new RclaudeError('invalid', 'a tar is nothing for a terminal: send it to a file or to tar')
  let tail = Buffer.alloc(0)
  const isCut = await writeTo(world.stdout, response, (piece) => {
    tail = Buffer.concat([tail, piece.subarray(-TAR_END_BYTES)]).subarray(-TAR_END_BYTES)
  })
  if (isCut || (isTar && tail.some((byte) => byte !== 0)))
    transfer.failed(path, new Error(isTar ? PART_OF_TAR : PART_OF_FILE))
}

/** An archive that is whole ends with so many zeros. */
const TAR_END_BYTES = 1024
const PART_OF_FILE = 'only a part came: it became shorter, or the connection was cut'
const PART_OF_TAR =
  'only a part came: something in it cannot be read, or the connection was cut; copied to a directory, each such path is named'

/** @returns whether the answer broke off */
async function writeTo(out: World['stdout'], response: Response, look: (piece: Uint8Array) => void): Promise<boolean> {
  const reader = response.body?.getReader()
  for (;;) {
    const next = await reader?.read().catch(() => 'cut' as const)
    if (next === 'cut') return true
    if (next?.value === undefined) return false
    look(next.value)
    await write(out, next.value)
  }
}
