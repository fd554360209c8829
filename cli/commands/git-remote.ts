/**
 * The live workspace of a task as a git remote: git runs `git-remote-rclaude REMOTE TASK[:FOLDER]` for `rclaude::TASK[:FOLDER]` and
 * speaks to it as gitremote-helpers(7) says. All that is offered is `connect`: from then on git speaks its own protocol with
 * `git upload-pack` or `git receive-pack` in the task, run by the task's user in the workspace.
 */
import { constants } from 'node:os'
import { Writable } from 'node:stream'
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { exitCodeOfProcess } from '../../protocol/process.ts'
import { carry } from '../carry.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { neutralise } from '../neutralise.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

const SERVICES: Readonly<Record<string, string>> = {
  'git-upload-pack': 'upload-pack',
  'git-receive-pack': 'receive-pack',
}
/** Longest line of git's to us. */
const MAX_LINE = 10_000

export function define(world: World): Command {
  return newCommand('git-remote', 'the workspace of a task as a git remote; git calls it')
    .argument('<remote>', 'name of the remote, or its address')
    .argument('<address>', 'TASK[:FOLDER]')
    .action(act(world, gitRemote))
}

async function gitRemote(invocation: Invocation, _remote: string, address: string): Promise<number> {
  const { world } = invocation
  for (;;) {
    const line = await readLine(world.stdin)
    if (line === undefined || line === '') return 0
    const [command, service = ''] = line.split(' ')
    if (command === 'capabilities') world.stdout.write('connect\n\n')
    else if (command === 'connect' && Object.hasOwn(SERVICES, service)) return connect(invocation, address, service)
    else throw new RclaudeError('unsupported', `git asks for "${line.slice(0, 100)}", which a task does not offer`)
  }
}

async function connect(invocation: Invocation, address: string, service: string): Promise<number> {
  const { world } = invocation
  const { name, folder } = parseAddress(address)
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  const spec = {
    argv: ['git', SERVICES[service] ?? service, '.'],
    stdin: true,
    ...(folder !== undefined && { cwd: folder }),
  }
  world.stdout.write('\n') // connected, as far as git is concerned
  const attached = await carry(world, gateway, { taskId, spec, stderr: toPeople(world) })
  return exitCodeOfProcess(await attached.exit, constants.signals)
}

/** `rclaude::k3m`, `rclaude::k3m:vendor/lib` (a repository within the workspace), `rclaude://k3m`. */
export function parseAddress(address: string): { name: string; folder: string | undefined } {
  const plain = address.replace(/^rclaude:\/\//, '').replace(/\/$/, '')
  const at = plain.indexOf(':')
  const name = at < 0 ? plain : plain.slice(0, at)
  const folder = at < 0 || at === plain.length - 1 ? undefined : plain.slice(at + 1)
  return { name, folder }
}

/** What git says there is for eyes, and may be anything. */
function toPeople({ stderr }: World): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      stderr.write(neutralise(chunk.toString('utf8')), () => done())
    },
  })
}

/** Without its end; undefined at the end of input. What follows stays in the stream: it is the connection's. */
async function readLine(stdin: NodeJS.ReadStream): Promise<string | undefined> {
  let held = Buffer.alloc(0)
  for (;;) {
    const chunk = (stdin.read() ?? (await nextChunk(stdin))) as Buffer | null
    if (chunk === null) return undefined
    held = Buffer.concat([held, chunk])
    const end = held.indexOf('\n')
    if (end >= 0) {
      if (end + 1 < held.length) stdin.unshift(held.subarray(end + 1))
      return held.toString('utf8', 0, end)
    }
    if (held.length > MAX_LINE) throw new RclaudeError('invalid', 'this is called by git, with one command in a line')
  }
}

function nextChunk(stdin: NodeJS.ReadStream): Promise<Buffer | null> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      stdin.off('readable', settle).off('end', settle).off('error', reject)
      resolve(stdin.read() as Buffer | null)
    }
    stdin.on('readable', settle).on('end', settle).on('error', reject)
  })
}
