/** The machine of a task: what it asks for, within what its launcher offers. */
import type { GatewayConfig } from '../../protocol/config.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { Machine } from '../../protocol/machine.ts'
import type { TaskSpec } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Launcher } from '../launchers/launcher.ts'

/**
 * All that the launcher offers, named.
 * @throws RclaudeError `invalid` for what it does not offer, or not that much of
 */
export function machineFor(launcher: Launcher, { agent, machine = {} }: Pick<TaskSpec, 'agent' | 'machine'>): Machine {
  const { images, size, spot, docker } = launcher.offers
  if (machine.image !== undefined && images === undefined) refuse(launcher, '--image', 'its tasks run in no container')
  if (machine.spot !== undefined && spot === undefined) refuse(launcher, '--spot', 'it has one kind of machines')
  for (const [option, value] of [
    ['--cpu', machine.cpu],
    ['--memory', machine.memoryBytes],
  ] as const)
    if (value !== undefined && size === undefined) refuse(launcher, option, 'its machines have the size they have')
  if (machine.docker === true && docker === undefined)
    refuse(launcher, '--docker', launcher.whyNoDocker ?? 'it has no Docker engines for tasks')
  const resolved = {
    ...(images && { image: machine.image ?? images[agent] }),
    ...(size && { cpu: machine.cpu ?? size.cpu, memoryBytes: machine.memoryBytes ?? size.memoryBytes }),
    ...(spot !== undefined && { spot: machine.spot ?? spot }),
    ...(machine.docker === true && { docker: true }),
  } as Machine
  if (size !== undefined) {
    const { cpu = 0, memoryBytes = 0 } = resolved
    if (cpu > size.maxCpu) throw tooMuch(launcher, `${cpu} CPUs (--cpu)`, `${size.maxCpu}`, 'maxCpu')
    if (memoryBytes > size.maxMemoryBytes)
      throw tooMuch(
        launcher,
        `${formatBytes(memoryBytes)} of memory (--memory)`,
        formatBytes(size.maxMemoryBytes),
        'maxMemory',
      )
  }
  launcher.check?.(resolved)
  return resolved
}

function refuse({ name }: Launcher, option: string, why: string): never {
  throw new RclaudeError(
    'invalid',
    `launcher "${name}" takes no ${option}: ${why}; leave it out, or choose another --launcher`,
  )
}

const tooMuch = ({ name }: Launcher, asked: string, most: string, key: string): RclaudeError =>
  new RclaudeError(
    'invalid',
    `${asked} are more than launcher "${name}" gives: at most ${most} (launchers.${name}.${key})`,
  )

export interface Deadline {
  seconds: number
  /** In the configuration. */
  key: string
}

/** Until the machine runs, and from then on until its agent has dialled in. */
export function launchDeadlines(
  { deadlines }: Pick<GatewayConfig, 'deadlines'>,
  launcher: Pick<Launcher, 'name' | 'deadlines'> | undefined,
): { launch: Deadline; dial: Deadline } {
  const own = launcher?.deadlines
  if (launcher === undefined || own === undefined)
    return {
      launch: { seconds: deadlines.launch, key: 'deadlines.launch' },
      dial: { seconds: deadlines.start, key: 'deadlines.start' },
    }
  const key = (name: string) => `launchers.${launcher.name}.deadlines.${name}`
  return {
    launch: { seconds: own.launch, key: key('launch') },
    dial: { seconds: own.dial, key: key('dial') },
  }
}
