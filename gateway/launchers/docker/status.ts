/** What the engine says of a container, in the launcher's words. */
import type Docker from 'dockerode'
import type { PlacementStatus } from '../launcher.ts'
import { soon, statusOf } from './engine.ts'

/** Of what a container printed, in the reason of its task's end. */
const LOG_TAIL_LINES = 20
const LOG_TAIL_BYTES = 2_000
const SIGNALS_FROM = 128

/** One that has ended says why; that takes two more calls, which those that run are spared. */
export async function statusOfContainer(docker: Docker, listed: Docker.ContainerInfo): Promise<PlacementStatus> {
  switch (listed.State) {
    case 'running':
    case 'paused':
    case 'restarting':
      return { status: 'running', since: startOf(listed.Created) }
    case 'created':
      return { status: 'pending', detail: 'the container is not started yet', isCutOff: true }
    default: // exited, dead, removing
      return ended(docker.getContainer(listed.Id))
  }
}

/** When it was made, by the second: all that a list says of it. */
export const startOf = (epochSeconds: number): string => new Date(epochSeconds * 1000).toISOString()

async function ended(container: Docker.Container): Promise<PlacementStatus> {
  try {
    const { State } = await container.inspect(soon())
    const detail = [reasonOf(State), State.Error, await printed(container)].filter(Boolean).join('; ')
    return { status: 'stopped', reason: 'placement_gone', detail, exitCode: State.ExitCode }
  } catch (error) {
    if (statusOf(error) !== 404) throw error
    return { status: 'gone', reason: 'placement_gone', detail: 'its container was removed' }
  }
}

function reasonOf({ OOMKilled, ExitCode }: Pick<Docker.ContainerInspectInfo['State'], 'OOMKilled' | 'ExitCode'>) {
  if (OOMKilled) return 'the container ran out of memory (--memory)'
  if (ExitCode > SIGNALS_FROM) return `the container was ended by signal ${ExitCode - SIGNALS_FROM}`
  return `the container exited with code ${ExitCode}`
}

/** The last lines of what the agent printed; empty where the engine's log driver keeps nothing that can be read. */
async function printed(container: Docker.Container): Promise<string> {
  const raw = await container
    .logs({ stdout: true, stderr: true, follow: false, tail: LOG_TAIL_LINES, ...soon() })
    .catch(() => Buffer.alloc(0))
  const text = withoutFrames(raw).trim().slice(-LOG_TAIL_BYTES)
  return text === '' ? '' : `it printed last: ${text}`
}

/** Without a terminal each piece has 8 bytes before it: the stream, three zeros, the length. */
function withoutFrames(raw: Buffer): string {
  const pieces: Buffer[] = []
  for (let at = 0; at + 8 <= raw.length; ) {
    const end = at + 8 + raw.readUInt32BE(at + 4)
    pieces.push(raw.subarray(at + 8, end))
    at = end
  }
  return Buffer.concat(pieces).toString('utf8')
}
