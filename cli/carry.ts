/** Standard input and output as the two ways of a connection that a process in the task serves: for ssh and git, which speak over pipes. */
import type { Writable } from 'node:stream'
import { RclaudeError } from '../protocol/errors.ts'
import type { ProcessId } from '../protocol/ids.ts'
import type { ProcessSpecInput } from '../protocol/process.ts'
import type { Gateway } from './api.ts'
import { type Attached, startAttach } from './attach/attach.ts'
import { dialOf } from './attach/dial.ts'
import type { World } from './world.ts'

export interface Carried {
  taskId: string
  /** To start the process. */
  spec?: ProcessSpecInput
  /** One that is there. */
  processId?: ProcessId
  /** What the process says beside the connection. */
  stderr: Writable
  signal?: AbortSignal
}

/** A lost way to the gateway is taken up again at the exact byte; lost bytes end it. */
export async function carry(world: World, gateway: Gateway, carried: Carried): Promise<Attached> {
  const { taskId, spec, processId, stderr, signal } = carried
  return startAttach({
    connect: await dialOf(world, gateway, taskId, spec),
    ...(processId !== undefined && { processId }),
    stdin: world.stdin,
    stdout: world.stdout,
    stderr,
    ...(signal && { signal }),
    onGap: ({ from, to }) => {
      throw new RclaudeError('internal', `bytes ${from} to ${to} of the connection are lost`)
    },
  })
}
