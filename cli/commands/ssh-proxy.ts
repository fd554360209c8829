/**
 * `rclaude ssh-proxy HOST`: what ssh runs to reach a task (its ProxyCommand). Standard input and output carry the connection;
 * when the way to the gateway is lost it is taken up again, and ssh sees nothing of it.
 */
import { Writable } from 'node:stream'
import type { Command } from 'commander'
import { ProcessId } from '../../protocol/ids.ts'
import type { Gateway } from '../api.ts'
import { carry } from '../carry.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import { taskNameOf } from '../ssh/host.ts'
import { openSsh } from '../ssh/open.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface ProxyOptions {
  user?: string
  process?: string
}

/** The server's own words, kept in case it gives up before it speaks SSH. */
const MAX_WORDS = 4_096
/** Less than any key exchange takes: whoever ended before that could not begin. */
const BEGUN_BYTES = 1_024
/** ssh hangs up on us when it is done, and waits until we are gone. */
const LAST_WORDS_MS = 1_000

export function define(world: World): Command {
  return newCommand('ssh-proxy', 'carry one SSH connection; ssh calls it')
    .argument('<host>', 'TASK.rclaude')
    .option('--user <name>', 'whom ssh logs in as')
    .option('--process <id>', 'of a server that was started for it')
    .action(act(world, sshProxy))
}

async function sshProxy(invocation: Invocation, host: string, options: ProxyOptions): Promise<number> {
  const { world, out } = invocation
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, taskNameOf(host))
  const processId =
    options.process === undefined
      ? await open(invocation, gateway, taskId, host, options)
      : ProcessId.parse(options.process)
  const words = keepWords()
  const leaving = new AbortController()
  const attached = await carry(world, gateway, { taskId, processId, stderr: words.stream, signal: leaving.signal })
  const hangUp = () => {
    world.stdin.destroy() // tells the server that we are done
    setTimeout(() => leaving.abort(), LAST_WORDS_MS).unref()
  }
  process.on('SIGHUP', hangUp).on('SIGTERM', hangUp)
  try {
    await attached.exit
  } catch (error) {
    if (!leaving.signal.aborted) throw error
  }
  if (world.stdout.bytesWritten < BEGUN_BYTES && words.text() !== '')
    out.note(`rclaude: ${oneLine(words.text(), 1_000)}`)
  return 0
}

async function open(
  { world, out }: Invocation,
  gateway: Gateway,
  taskId: string,
  host: string,
  { user }: ProxyOptions,
): Promise<ProcessId> {
  const session = await openSsh(world, gateway, taskId, host)
  if (user !== undefined && user !== session.user)
    out.note(
      `rclaude: ${taskId} takes ${session.user} only: ssh ${session.user}@${host}, or rclaude ssh-config --write once more`,
    )
  return session.processId
}

function keepWords() {
  let text = ''
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text = (text + chunk.toString('utf8')).slice(-MAX_WORDS)
      done()
    },
  })
  return { stream, text: () => text.trim() }
}
