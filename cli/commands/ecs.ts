/** `rclaude ecs list|show|stop|sweep|doctor|init`: the launcher on Amazon ECS, by way of the gateway; only `init` is about files here. */
import type { Command } from 'commander'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { bad, type Finding } from '../../protocol/finding.ts'
import { routes } from '../../protocol/routes.ts'
import { act, duration, type Invocation, newCommand } from '../command.ts'
import { defineInit } from '../ecs/init.ts'
import {
  findPlacement,
  LAUNCHER,
  ownPlacements,
  printPlacement,
  printPlacements,
  printSwept,
  untilGone,
} from '../ecs/placements.ts'
import { probe } from '../ecs/probe.ts'
import { oneLine } from '../neutralise.ts'
import type { World } from '../world.ts'
import { printFindings } from './doctor.ts'

export function define(world: World): Command {
  return newCommand('ecs', 'what runs on Amazon ECS, and whether it can', [
    'rclaude ecs list',
    'rclaude ecs doctor    credentials, cluster, each permission, and a task that dials back',
  ])
    .addCommand(
      newCommand('list', 'what runs for this gateway, orphans included, with age and estimated cost', [
        'rclaude ecs list',
        'rclaude ecs list --all          those of other gateways in the cluster too',
        "rclaude ecs list --json | jq '.placements[] | select(.isKnown | not)'",
      ])
        .alias('ls')
        .option('-a, --all', 'those of other gateways in the cluster too')
        .action(act(world, list)),
    )
    .addCommand(
      newCommand('show', 'show all of one', ['rclaude ecs show k3m', 'rclaude ecs show 0f1e2d3c'])
        .argument('<name>', 'a task, a launch, or an ECS task; the beginning of an id will do')
        .action(act(world, show)),
    )
    .addCommand(
      newCommand('stop', 'stop orphans; what a task owns is stopped with the task', ['rclaude ecs stop 0f1e2d3c'])
        .argument('<name...>', 'a task, a launch, or an ECS task; the beginning of an id will do')
        .option('--no-wait', 'return at once, before they are gone')
        .action(act(world, stop)),
    )
    .addCommand(
      newCommand('sweep', 'stop all orphans now; the gateway does it by itself every half minute', [
        'rclaude ecs sweep -n',
        'rclaude ecs sweep',
      ])
        .option('-n, --dry-run', 'say what would be stopped')
        .option('--no-wait', 'return at once, before they are gone')
        .action(act(world, sweep)),
    )
    .addCommand(
      newCommand('doctor', 'check credentials, cluster and each permission, and launch a task that dials back', [
        'rclaude ecs doctor',
        'rclaude ecs doctor --no-probe       launch nothing',
        'rclaude ecs doctor --timeout 5m',
      ])
        .option(
          '--no-probe',
          'launch nothing: ecs:RunTask, ecs:TagResource, subnets, image and the way to the gateway stay untried',
        )
        .option('--timeout <duration>', 'give up the task that is to dial back after so long', duration)
        .action(act(world, doctor)),
    )
    .addCommand(defineInit(world))
}

async function list({ out, connect }: Invocation, options: { all?: boolean }): Promise<undefined> {
  const { client } = await connect()
  const query = { launcher: LAUNCHER, ...(options.all === true && { foreign: '1' as const }) }
  const { placements, foreign } = await client.call(routes.listPlacements, { query })
  if (out.json) return void (await out.data({ placements, foreign }))
  await printPlacements(out, placements, foreign, Date.now())
}

async function show({ out, connect }: Invocation, name: string): Promise<undefined> {
  const { client } = await connect()
  const found = findPlacement(await ownPlacements(client), name)
  if (out.json) return void (await out.data(found))
  await printPlacement(out, found, Date.now())
}

async function stop({ out, connect }: Invocation, names: string[], options: { wait: boolean }): Promise<number> {
  const { client } = await connect()
  const placements = await ownPlacements(client)
  const chosen = names.map((name) => findPlacement(placements, name))
  const asked = await Promise.allSettled(
    chosen.map(({ launchId }) =>
      client.call(routes.stopPlacement, { params: { launchId }, query: { launcher: LAUNCHER, ...waiting(options) } }),
    ),
  )
  const told = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const swept = options.wait ? await untilGone(client, told, out.note) : told
  const [refusal, ...others] = asked.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []))
  if (out.json && swept.length > 0) await out.data({ swept })
  else await printSwept(out, swept)
  for (const { message } of others) out.note(oneLine(message))
  if (refusal !== undefined) throw refusal
  return exitCodeFor(swept)
}

async function sweep({ out, connect }: Invocation, options: { dryRun?: boolean; wait: boolean }): Promise<number> {
  const { client } = await connect()
  const body = { launcher: LAUNCHER, dryRun: options.dryRun === true, ...waiting(options) }
  const told = (await client.call(routes.sweepPlacements, { body })).swept
  const swept = options.wait ? await untilGone(client, told, out.note) : told
  if (out.json) await out.data({ swept })
  else if (swept.length === 0) await out.line('no orphans')
  else await printSwept(out, swept)
  return exitCodeFor(swept)
}

const waiting = ({ wait }: { wait: boolean }) => (wait ? {} : { waitSeconds: 0 })

const exitCodeFor = (swept: readonly { result: string }[]): number =>
  swept.some(({ result }) => result === 'failed') ? EXIT_CODES.failed : EXIT_CODES.succeeded

async function doctor({ out, connect }: Invocation, options: { probe: boolean; timeout?: number }): Promise<number> {
  const { client } = await connect()
  const { findings } = await client.call(routes.diagnoseLauncher, { params: { launcher: LAUNCHER }, body: {} })
  const all: Finding[] = [...findings]
  if (!out.json) await printFindings(out, findings)
  // A launch would only fail for what is known already.
  if (options.probe && findings.every(({ ok }) => ok)) {
    const probed = await probe(client, (text) => out.note(oneLine(text)), options.timeout).catch((error: Error) => [
      bad('probe', error.message, 'mend that, or leave it out: --no-probe'),
    ])
    if (!out.json) await printFindings(out, probed)
    all.push(...probed)
  } else if (options.probe) out.note('no task is launched until that is mended')
  const isWell = all.every(({ ok }) => ok)
  if (out.json) await out.data({ ok: isWell, findings: all })
  return isWell ? EXIT_CODES.succeeded : EXIT_CODES.failed
}
