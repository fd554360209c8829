/** `rclaude gateway start|status|stop`: the user's own gateway on this machine. */
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
  stopLocalGateway,
} from '../local-gateway.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('gateway', 'start, look at or stop the local gateway', [
    'rclaude gateway start',
    'rclaude gateway status --json',
  ])
    .addCommand(newCommand('start', 'start it, unless it runs').action(act(world, start)))
    .addCommand(newCommand('status', 'where it is, and whether it runs').action(act(world, status)))
    .addCommand(newCommand('stop', 'stop it; its tasks go on').action(act(world, stop)))
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
