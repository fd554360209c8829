/** `rclaude kill TASK/PROCESS...`: ends processes of a task, whatever it takes, or sends them a signal. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { ProcessInfo, SignalName } from '../../protocol/process.ts'
import { routes } from '../../protocol/routes.ts'
import type { Gateway } from '../api.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { findProcesses, type NamedProcess } from '../process-name.ts'
import { endedBy } from '../process-session.ts'
import type { World } from '../world.ts'

/** Requests at once: each may take as long as its process holds out. */
const AT_ONCE = 128

interface KillOptions {
  signal?: string
}

export function define(world: World): Command {
  return newCommand('kill', 'end a process that exec started, or send it a signal', [
    'rclaude kill k3m/proc_2hf7dk3mx9pq            SIGINT, then SIGTERM, then SIGKILL; returns when it is gone',
    'rclaude kill -s HUP k3m/2hf7                  only this signal',
    'rclaude kill $(rclaude processes -q k3m)      all of them',
  ])
    .argument('<process...>', 'TASK/PROCESS, as rclaude processes lists them')
    .option('-s, --signal <name>', 'send this signal, such as HUP, and leave')
    .action(act(world, kill))
}

async function kill(invocation: Invocation, names: string[], options: KillOptions): Promise<undefined> {
  const { out } = invocation
  const signal = options.signal === undefined ? undefined : signalOf(options.signal)
  const gateway = await invocation.connect()
  const found = await findProcesses(gateway, names)
  const ended = await eachOf(found, AT_ONCE, (one) =>
    signal === undefined ? stop(gateway, one) : send(gateway, one, signal),
  )
  if (out.json) return void (await out.data({ processes: ended }))
  for (const { id, exit } of ended) {
    const how = exit === undefined ? undefined : (endedBy(exit) ?? 'it had ended by itself')
    await out.line(`${id}: ${how ?? `${signal} was sent`}`)
  }
}

async function stop({ client }: Gateway, { taskId, process }: NamedProcess): Promise<ProcessInfo> {
  const response = await client.raw(routes.stopProcess, { params: { taskId, rest: process.id } })
  return ProcessInfo.parse(await response.json())
}

async function send({ client }: Gateway, { taskId, process }: NamedProcess, signal: string): Promise<ProcessInfo> {
  const response = await client.raw(routes.changeProcess, {
    params: { taskId, rest: `${process.id}/signal` },
    rawBody: JSON.stringify({ signal }),
    headers: { 'content-type': 'application/json' },
  })
  return ProcessInfo.parse(await response.json())
}

/** `HUP`, `sighup` and `SIGHUP` are one. */
function signalOf(text: string): string {
  const upper = text.toUpperCase()
  const name = SignalName.safeParse(upper.startsWith('SIG') ? upper : `SIG${upper}`)
  if (name.success) return name.data
  throw new RclaudeError('invalid', `--signal ${text}: expected a name like TERM or SIGHUP`)
}

/** Results in the order of `items`. */
async function eachOf<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const rest = items.entries()
  const worker = async () => {
    for (const [at, item] of rest) results[at] = await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
  return results
}
