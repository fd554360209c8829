/** `rclaude gateway start|status|stop|backup|restore`: the user's own gateway on this machine; `confirm-restore` is for any. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { createClient } from '../../protocol/client.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { VERSION } from '../../protocol/version.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { gatewayDirectory } from '../directories.ts'
import {
  ensureLocalGateway,
  findLocalGateway,
  gatewayLog,
  type LocalGateway,
  runGatewayProgram,
  stopLocalGateway,
} from '../local-gateway.ts'
import { oneLine } from '../neutralise.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('gateway', 'start, look at, back up or stop the local gateway', [
    'rclaude gateway start',
    'rclaude gateway status --json',
  ])
    .addCommand(newCommand('start', 'start it, unless it runs').action(act(world, start)))
    .addCommand(newCommand('status', 'where it is, and whether it runs').action(act(world, status)))
    .addCommand(newCommand('stop', 'stop it; its tasks go on').action(act(world, stop)))
    .addCommand(
      newCommand('backup', 'copy the data of the local gateway, also while it runs', [
        'rclaude gateway backup ~/rclaude-monday.tar.gz',
        'rclaude gateway backup --without-key /backup/rclaude   a folder, without what opens it',
      ])
        .argument('<path>', 'a new folder, or a file that ends in .tar, .tar.gz or .tgz')
        .option('--without-key', 'leave out the key and the administrator token')
        .action(act(world, backup)),
    )
    .addCommand(
      newCommand('restore', 'make the data of the local gateway of a backup; there must be none yet', [
        'rclaude gateway restore ~/rclaude-monday.tar.gz',
      ])
        .argument('<path>', 'what `rclaude gateway backup` made')
        .action(act(world, restore)),
    )
    .addCommand(
      newCommand('confirm-restore', 'let a restored or copied gateway command its machines', [
        'rclaude gateway confirm-restore         what it would take over and what it would stop',
        'rclaude gateway confirm-restore --yes',
      ])
        .option('--yes', 'no other copy of this gateway lives: go on')
        .action(act(world, confirmRestore)),
    )
}

async function start(invocation: Invocation): Promise<undefined> {
  const { world, out } = invocation
  const { gateway, started } = await ensureLocalGateway(world)
  if (out.json) return void (await out.data({ started, ...factsOf(world, gateway) }))
  await out.line(started ? `started a local gateway at ${gateway.url}` : `it runs already at ${gateway.url}`)
  await describe(invocation, gateway)
}

async function status(invocation: Invocation): Promise<number> {
  const { world, out } = invocation
  const gateway = await findLocalGateway(world)
  if (out.json) await out.data({ running: gateway !== undefined, ...factsOf(world, gateway) })
  else if (gateway === undefined) await out.line(`no local gateway runs (data in ${gatewayDirectory(world)})`)
  else await describe(invocation, gateway)
  return gateway === undefined ? EXIT_CODES.failed : EXIT_CODES.succeeded
}

async function stop({ world, out }: Invocation): Promise<undefined> {
  const stopped = await stopLocalGateway(world)
  if (out.json) return void (await out.data({ stopped: stopped !== undefined, ...stopped }))
  await out.line(
    stopped === undefined ? 'no local gateway runs' : `stopped the gateway (pid ${stopped.pid}); its tasks go on`,
  )
}

async function backup({ world, globals }: Invocation, path: string, options: { withoutKey?: true }): Promise<number> {
  return await runGatewayProgram(world, [
    'backup',
    resolve(world.cwd, path),
    ...(options.withoutKey ? ['--without-key'] : []),
    ...(globals.json ? ['--json'] : []),
  ])
}

async function restore({ world, globals }: Invocation, path: string): Promise<number> {
  return await runGatewayProgram(world, ['restore', resolve(world.cwd, path), ...(globals.json ? ['--json'] : [])])
}

/** Lists first; only `--yes` changes anything. */
async function confirmRestore({ out, connect }: Invocation, options: { yes?: true }): Promise<number> {
  const { client } = await connect()
  const { held, placements } = await client.call(routes.hold)
  if (held === undefined) {
    if (out.json) await out.data({ held: false, placements })
    else await out.line('this gateway is not held: there is nothing to confirm')
    return EXIT_CODES.succeeded
  }
  if (!out.json) {
    await out.line(oneLine(held.message))
    for (const { taskId, launcher, handle, startedAt, isKnown } of placements)
      await out.line(
        oneLine(`  ${isKnown ? 'take over' : 'STOP     '}  ${taskId}  ${launcher} ${handle}, started ${startedAt}`),
      )
    if (placements.length === 0) await out.line('  no launcher runs anything of it')
  }
  if (!options.yes) {
    if (out.json) await out.data({ held: true, reason: held, placements })
    else await out.line('Is no other copy of this gateway alive? Then: rclaude gateway confirm-restore --yes')
    return EXIT_CODES.conflict
  }
  const { generation } = await client.call(routes.confirmRestore, { body: {} })
  if (out.json) await out.data({ held: false, generation, placements })
  else await out.line(`confirmed (generation ${generation}): it commands its machines from now on`)
  return EXIT_CODES.succeeded
}

async function describe({ world, out }: Invocation, gateway: LocalGateway): Promise<void> {
  const client = createClient({ baseUrl: gateway.url, token: gateway.token, version: VERSION })
  const info = await client.call(routes.info)
  const launchers = info.launchers.map(({ name, isolation }) => `${name} (isolation: ${isolation})`)
  await out.facts([
    ['url', gateway.url],
    ['pid', String(gateway.pid)],
    [
      'version',
      gateway.version === VERSION
        ? VERSION
        : `${gateway.version} (this command is ${VERSION}; stop and start it to change)`,
    ],
    ['started', gateway.startedAt],
    ...(info.held === undefined
      ? []
      : [['held', `${info.held.message}: rclaude gateway confirm-restore`] as [string, string]]),
    ['launchers', launchers.join(', ')],
    ['data', gateway.directory],
    ['log', gatewayLog(world)],
  ])
}

/** Without the token. */
function factsOf(world: World, gateway: LocalGateway | undefined): object {
  const places = { data: gatewayDirectory(world), log: gatewayLog(world) }
  if (gateway === undefined) return places
  const { url, pid, version, startedAt } = gateway
  return { url, pid, version, startedAt, ...places }
}
