/** `rclaude context ls|use|show|rm`: which of several gateways commands talk to. `rclaude login` adds one. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { chooseGateway } from '../api.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import {
  contextFile,
  contextNames,
  currentContext,
  LOCAL,
  readContext,
  removeContext,
  useContext,
} from '../contexts.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  const ls = newCommand('ls', 'list them; a star marks the current one')
    .option('-q, --quiet', 'print names only')
    .action(act(world, list))
  const use = newCommand('use', 'make one the current one', ['rclaude context use work', 'rclaude context use local'])
    .argument('<context>', 'its name')
    .action(act(world, choose))
  const show = newCommand('show', 'show one, or the one in effect and why').argument('[context]', 'its name')
  const rm = newCommand('rm', 'forget some, with their tokens; they stay valid on their gateways')
    .argument('<context...>', 'their names')
    .action(act(world, remove))
  return newCommand('context', 'list, choose or forget gateways', [
    'rclaude login https://rclaude.example.com --context work',
    'rclaude context use work',
    'rclaude --context local ps    for one call; RCLAUDE_CONTEXT for a shell',
  ])
    .addCommand(ls)
    .addCommand(use)
    .addCommand(show.action(act(world, describe)))
    .addCommand(rm)
}

interface Row {
  name: string
  url?: string
  user?: string
  current: boolean
}

async function list(invocation: Invocation, options: { quiet?: boolean }): Promise<undefined> {
  const { world, out } = invocation
  const current = (await currentContext(world)) ?? LOCAL
  const rows: Row[] = [{ name: LOCAL, current: current === LOCAL }]
  for (const name of await contextNames(world)) {
    // One that is damaged must not hide the others; it is told when it is used.
    const { url, user } = await readContext(world, name).catch(() => ({ url: undefined, user: undefined }))
    rows.push({
      name,
      ...(url !== undefined && { url }),
      ...(user !== undefined && { user }),
      current: current === name,
    })
  }
  if (out.json) return void (await out.data({ current, contexts: rows }))
  if (options.quiet === true) {
    for (const { name } of rows) await out.line(name)
    return
  }
  const gatewayText = ({ name, url }: Row) => url ?? (name === LOCAL ? 'the one of this machine' : '(damaged)')
  await out.table(
    ['', 'NAME', 'USER', 'GATEWAY'].map((title) => ({ title })),
    rows.map((row) => [row.current ? '*' : '', row.name, row.user ?? '', gatewayText(row)]),
  )
  const inEffect = await chooseGateway(world, invocation.globals)
  if (inEffect.from !== 'current') out.note(`in effect is ${inEffect.name ?? inEffect.url} (${WHY[inEffect.from]})`)
}

const WHY = {
  'gateway-flag': '--gateway',
  'context-flag': '--context',
  'gateway-variable': 'RCLAUDE_GATEWAY is set',
  'context-variable': 'RCLAUDE_CONTEXT is set',
  current: 'the current context',
} as const

async function choose({ world, out }: Invocation, name: string): Promise<undefined> {
  await useContext(world, name)
  if (out.json) return void (await out.data({ current: name }))
  await out.line(`from now on commands talk to ${name}`)
}

async function describe({ world, globals, out }: Invocation, name: string | undefined): Promise<undefined> {
  const chosen = await chooseGateway(world, name === undefined ? globals : { context: name })
  const context = chosen.name === undefined || chosen.name === LOCAL ? undefined : await readContext(world, chosen.name)
  const facts = {
    name: chosen.name,
    url: chosen.url ?? context?.url,
    user: context?.user,
    from: name === undefined ? WHY[chosen.from] : undefined,
    file: context && contextFile(world, chosen.name ?? ''),
  }
  if (out.json) return void (await out.data(facts))
  await out.facts([
    ['name', facts.name],
    ['gateway', facts.url ?? 'the one of this machine (rclaude gateway status)'],
    ['user', facts.user],
    ['because of', facts.from],
    ['file', facts.file],
  ])
}

async function remove({ world, out }: Invocation, names: string[]): Promise<undefined> {
  if (names.includes(LOCAL))
    throw new RclaudeError('invalid', 'local is the gateway of this machine, and always there: rclaude gateway stop')
  const before = await currentContext(world)
  for (const name of names) await removeContext(world, name)
  if (out.json) return void (await out.data({ removed: names }))
  for (const name of names)
    await out.line(name === before ? `forgot ${name}; the current context is local` : `forgot ${name}`)
}
