/** `rclaude logs TASK`: what a task did and said, from its event log. */
import type { Command } from 'commander'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { followEvents } from '../follow.ts'
import { safeJson } from '../neutralise.ts'
import { createOutput } from '../output.ts'
import { plainView } from '../run-view.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface LogsOptions {
  follow?: boolean
  since?: number
  raw?: boolean
}

export function define(world: World): Command {
  return newCommand('logs', 'print what a task did and said', [
    'rclaude logs -f @last',
    'rclaude logs k3m --raw | jq .type    the events themselves, one a line',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .option('-f, --follow', 'go on until the task has ended')
    .option('--since <seq>', 'only events after this number', wholeNumber)
    .option('--raw', 'the events as NDJSON, like --json')
    .action(act(world, logs))
}

async function logs(invocation: Invocation, name: string, options: LogsOptions): Promise<undefined> {
  const { world, out } = invocation
  const { client } = await invocation.connect()
  const taskId = await findTask(client, name)
  const since = options.since ?? 0
  const events = options.follow === true ? followEvents(client, taskId, { since }) : client.events(taskId, { since })
  if (out.json || options.raw === true) {
    for await (const event of events) await out.line(safeJson(event))
    return
  }
  const view = plainView(world.stdout, createOutput(world, false).style, Date.now)
  for await (const event of events) await view.event(event)
  await view.close()
}
