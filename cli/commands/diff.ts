/** `rclaude diff TASK`: what a task changed. In a pipe the patch byte for byte; on a terminal coloured, harmless and paged. */
import { type Command, Option } from 'commander'
import type { Withheld } from '../../protocol/event.ts'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { neutralise } from '../neutralise.ts'
import { count, type Output, type Style, write } from '../output.ts'
import { page } from '../pager.ts'
import { type FileStat, PatchLines } from '../patch.ts'
import { findTask } from '../task-name.ts'
import { noteWithheld } from '../withheld.ts'
import type { World } from '../world.ts'

interface DiffOptions {
  stat?: boolean
  of?: 'result' | 'checkpoint'
  submodule?: string
}

const BAR = 40

export function define(world: World): Command {
  return newCommand('diff', 'show what a task changed', [
    'rclaude diff @last',
    'rclaude diff k3m --stat',
    'rclaude diff k3m | git apply',
    'rclaude diff k3m --submodule libs/a | git -C libs/a apply',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .option('--stat', 'only how much changed in which file')
    .addOption(new Option('--of <what>', 'instead of the newest').choices(['result', 'checkpoint']))
    .option('--submodule <path>', 'only its change, as it sees it; . is the superproject without submodules')
    .action(act(world, diff))
}

async function diff(invocation: Invocation, name: string, options: DiffOptions): Promise<undefined> {
  const { world, out } = invocation
  const gateway = await invocation.connect()
  const { client } = gateway
  const taskId = await findTask(client, name)
  const withheld = await noteWithheld(gateway, taskId, out)
  const response = await client.raw(routes.patch, {
    params: { taskId },
    query: { of: options.of, submodule: options.submodule },
  })
  const patch = bytesOf(response)
  if (!out.json && options.stat !== true && !world.stdout.isTTY) {
    for await (const chunk of patch) await write(world.stdout, chunk)
    return
  }
  if (out.json || options.stat === true) return report(out, await read(patch, out.json), withheld, options)
  await page(world, coloured(patch, out.style))
}

interface Read {
  files: FileStat[]
  patch: string
}

async function read(patch: AsyncIterable<Uint8Array>, keep: boolean): Promise<Read> {
  const lines = new PatchLines()
  const kept: string[] = []
  for await (const line of linesOf(patch)) {
    lines.take(line)
    if (keep) kept.push(line)
  }
  return { files: lines.files, patch: kept.join('\n') + (kept.length > 0 ? '\n' : '') }
}

async function report(
  out: Output,
  { files, patch }: Read,
  withheld: Withheld[],
  options: DiffOptions,
): Promise<undefined> {
  if (out.json) return void (await out.data({ files, ...(options.stat !== true && { patch }), withheld }))
  const { style } = out
  const most = Math.max(1, ...files.map((file) => file.insertions + file.deletions))
  const scale = (value: number) => (most <= BAR ? value : Math.ceil((value / most) * BAR))
  await out.table(
    [{ title: 'FILE' }, { title: 'CHANGED' }, { title: '' }].map((column, at) =>
      at === 2
        ? {
            ...column,
            paint: (bar: string) => style.green(bar.replace(/-+$/, '')) + style.red(/-+$/.exec(bar)?.[0] ?? ''),
          }
        : column,
    ),
    files.map((file) => [
      file.path,
      file.binary ? 'binary' : String(file.insertions + file.deletions),
      '+'.repeat(scale(file.insertions)) + '-'.repeat(scale(file.deletions)),
    ]),
  )
  const sum = (key: 'insertions' | 'deletions') => files.reduce((total, file) => total + file[key], 0)
  await out.line(
    `${count(files.length, 'file')} changed, ${style.green(`+${sum('insertions')}`)} ${style.red(`-${sum('deletions')}`)}`,
  )
}

async function* coloured(patch: AsyncIterable<Uint8Array>, style: Style): AsyncGenerator<string> {
  const lines = new PatchLines()
  const paint = {
    file: style.bold,
    hunk: style.cyan,
    added: style.green,
    removed: style.red,
    context: (text: string) => text,
  }
  for await (const line of linesOf(patch)) yield `${paint[lines.take(line)](neutralise(line.replace(/\r$/, '^M')))}\n`
}

async function* bytesOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (reader === undefined) return
  try {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {}) // already at its end, or the connection is gone
  }
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  rest += decoder.decode()
  if (rest !== '') yield rest
}
