/** `rclaude forward TASK [LOCAL:]PORT...`: ports of a task on this machine, as if its servers ran here. */
import type { Command } from 'commander'
import { isLoopback } from '../../host/loopback.ts'
import { EXIT_CODES, RclaudeError } from '../../protocol/errors.ts'
import { act, collect, type Invocation, newCommand } from '../command.ts'
import { agentFor } from '../network.ts'
import { ForwardSession } from '../ports/session.ts'
import { parseForward, parseReverse, parseSocks } from '../ports/spec.ts'
import { untilEnded, untilReachable } from '../ports/until-over.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface ForwardOptions {
  address: string
  reverse?: string[]
  dynamic?: string
}

export function define(world: World): Command {
  return newCommand('forward', 'reach ports of a task from here, and ports of here from a task', [
    'rclaude forward @last 3000               http://127.0.0.1:3000 is port 3000 of the task',
    'rclaude forward @last 8080:80 0:5432     two ports; 0 takes a free one here',
    'rclaude forward @last -D 1080            a SOCKS5 proxy to all ports of the task',
    'rclaude forward @last -R 11434           port 11434 of the task is the one of this machine',
    'rclaude forward @last 5432:db.internal:5432   a host that the task allows (run --forward-host)',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('[ports...]', 'PORT, LOCAL:PORT or LOCAL:HOST:PORT; LOCAL 0 for a free one')
    .option('--address <address>', 'where to listen here', '127.0.0.1')
    .option('-R, --reverse <ports>', '[PORT_IN_THE_TASK:]PORT_HERE: the task reaches a port of this machine', collect)
    .option('-D, --dynamic <port>', 'listen as a SOCKS5 proxy')
    .action(act(world, forward))
}

async function forward(
  invocation: Invocation,
  name: string,
  ports: string[],
  options: ForwardOptions,
): Promise<number> {
  const { world, out } = invocation
  const forwards = ports.map(parseForward)
  const reverses = (options.reverse ?? []).map(parseReverse)
  const socks = options.dynamic === undefined ? undefined : parseSocks(options.dynamic)
  if (forwards.length + reverses.length === 0 && socks === undefined)
    throw new RclaudeError('invalid', `which port? rclaude forward ${name} 3000 (rclaude ports ${name} lists them)`)
  const leaving = new AbortController()
  const leave = () => leaving.abort()
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, leave)
  try {
    const task = await untilReachable(gateway, taskId, leaving.signal, (state) =>
      out.note(`rclaude: task ${taskId} is ${state}; waiting for it`),
    )
    if (!isLoopback(options.address))
      out.note(`rclaude: everybody who reaches ${options.address} reaches these ports of the task, without a token`)
    const way = {
      url: `${gateway.url.replace(/^http/, 'ws')}/v1/tasks/${taskId}`,
      headers: gateway.client.headers,
      agent: await agentFor(world, gateway.url),
    }
    const session = new ForwardSession({ way, address: options.address, out, taskId })
    let fail: (error: unknown) => void = () => {}
    const failing = new Promise<never>((_, reject) => {
      fail = reject
    })
    failing.catch(() => {})
    try {
      for (const spec of forwards) await session.forward(spec)
      if (socks !== undefined) await session.socks(socks)
      for (const spec of reverses) await session.reverse(spec, fail)
      const ended = await Promise.race([untilEnded(gateway, task, leaving.signal), failing])
      out.note(
        `rclaude: task ${taskId} has ended${ended.state === 'ended' ? ` (${ended.outcome})` : ''}: nothing is left to forward to`,
      )
      return EXIT_CODES.failed
    } finally {
      await session.close()
    }
  } catch (error) {
    if (leaving.signal.aborted) return EXIT_CODES.succeeded
    throw error
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, leave)
  }
}
