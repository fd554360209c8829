/** `rclaude sync TASK[:PATH] [DIR]`: a folder here and one of a running task's workspace, brought together and kept so. */
import { mkdirSync, realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { type BytePath, fromText, refusedPath } from '../../host/tree/names.ts'
import { EXIT_CODES, RclaudeError } from '../../protocol/errors.ts'
import { act, collect, type Invocation, newCommand } from '../command.ts'
import { noteExpiry } from '../expiry.ts'
import { agentFor } from '../network.ts'
import { asking } from '../sync/ask.ts'
import type { Direction, Side } from '../sync/plan.ts'
import { exitCodeFor } from '../sync/report.ts'
import { openSession, PATIENCE } from '../sync/session.ts'
import { openView } from '../sync/view.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface Options {
  to?: boolean
  from?: boolean
  both?: boolean
  watch?: boolean
  delete?: boolean
  force?: boolean
  prefer?: Side
  exclude?: string[]
  include?: string[]
  ignore: boolean
  dryRun?: boolean
  verbose?: boolean
}

export function define(world: World): Command {
  return newCommand('sync', 'keep a folder here and one of a task the same', [
    'rclaude sync @last                          this folder and the workspace, both ways',
    'rclaude sync k3m:src src --to -n            what would be sent',
    'rclaude sync k3m:dist ./dist --from --delete   a mirror of what the task builds',
    'rclaude sync @last --watch                  go on until Ctrl-C',
  ])
    .argument('<task>', 'id, beginning of an id, or @last; TASK:PATH for a folder of its workspace')
    .argument('[dir]', 'folder here', '.')
    .option('--both', 'carry changes of each side to the other (unless said otherwise)')
    .option('--to', 'only send')
    .option('--from', 'only fetch')
    .option('-w, --watch', 'go on until Ctrl-C, over lost connections too')
    .option('--delete', 'delete too: with --to or --from a mirror, with --both what was deleted since the last sync')
    .option('--force', 'let --delete empty the other side')
    .addOption(
      new Option('--prefer <side>', 'who wins a conflict; what loses is kept beside').choices(['local', 'remote']),
    )
    .option('--exclude <pattern>', 'leave these out (as in .gitignore)', collect)
    .option('--include <pattern>', 'take these although git ignores them', collect)
    .option('--no-ignore', 'take everything, ignored or not')
    .option('-n, --dry-run', 'say what would be done')
    .option('-v, --verbose', 'name every file')
    .action(act(world, sync))
}

async function sync(invocation: Invocation, name: string, directory: string, options: Options): Promise<number> {
  const { world } = invocation
  const direction = directionOf(options)
  if (options.watch === true && options.dryRun === true)
    throw new RclaudeError('invalid', '--watch and --dry-run contradict each other')
  const { task, folder } = parseTarget(name)
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, task)
  const here = placeOf(world, directory, { make: direction === 'from' && options.dryRun !== true })
  const ending = new AbortController()
  const end = () => ending.abort()
  for (const signal of SIGNALS) process.once(signal, end)
  const pair = { gateway: gateway.url, taskId, folder, directory: here }
  const agent = await agentFor(world, gateway.url)
  const onExpiry = noteExpiry((text) => invocation.out.note(text))
  const ask = asking({ client: gateway.client, taskId, agent, onExpiry })
  const far = { ask, taskId, folder, signal: ending.signal }
  const selection = { ignore: options.ignore, exclude: options.exclude ?? [], include: options.include ?? [] }
  const view = openView(invocation, { verbose: options.verbose === true, dryRun: options.dryRun === true })
  try {
    await using session = await openSession(world, pair, {
      directory: here,
      far,
      selection,
      rules: { direction, delete: options.delete === true, prefer: options.prefer },
      dryRun: options.dryRun === true,
      force: options.force === true,
      umask: process.umask(),
      now: () => new Date(),
      policy: options.watch === true ? { ...PATIENCE, giveUpMs: Number.POSITIVE_INFINITY } : PATIENCE,
      onDone: view.onDone,
      onLoss: view.onLoss,
    })
    if (options.watch === true) {
      const { keepInSync } = await import('../sync/watch.ts')
      await keepInSync(session, { directory: here, far, selection, onPass: view.onPass, onStatus: view.onStatus })
      return 0
    }
    const tally = await session.sync()
    await view.onResult(tally)
    if (tally.full) throw new RclaudeError('disk_full', 'a disk is full: some files were not synced')
    return exitCodeFor(tally)
  } catch (error) {
    if (ending.signal.aborted) return EXIT_CODES.cancelled
    throw error
  } finally {
    await view.close()
    for (const signal of SIGNALS) process.off(signal, end)
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

function directionOf({ to, from, both }: Options): Direction {
  const given = [to && 'to', from && 'from', both && 'both'].filter((one) => typeof one === 'string')
  if (given.length > 1) throw new RclaudeError('invalid', '--to, --from and --both contradict each other: give one')
  return (given[0] as Direction | undefined) ?? 'both'
}

/** `TASK:PATH`, where the path is seen from the top of the workspace. */
export function parseTarget(name: string): { task: string; folder: BytePath } {
  const colon = name.indexOf(':')
  if (colon < 0) return { task: name, folder: '' }
  const path = name
    .slice(colon + 1)
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')
  const folder = fromText(path)
  const refused = folder === '' ? undefined : refusedPath(folder)
  if (refused !== undefined) throw new RclaudeError('invalid', `"${path}" is no folder of the workspace: ${refused}`)
  return { task: name.slice(0, colon), folder }
}

/** The folder's real path: one folder has one memory, however it is called. */
function placeOf(world: World, directory: string, { make }: { make: boolean }): string {
  const path = resolve(world.cwd, directory)
  if (make) mkdirSync(path, { recursive: true })
  try {
    return realpathSync(path)
  } catch {
    return path // the first pass says that it is not there
  }
}
