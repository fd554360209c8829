/** The machine that `run` asks for: options, and below them what the project's file says and the launcher offers. */
import type { Machine, Offers } from '../protocol/machine.ts'
import type { GatewayInfo } from '../protocol/routes/gateway.ts'
import type { Project } from './project-file.ts'

export interface MachineOptions {
  cpu?: number
  /** In bytes. */
  memory?: number
  image?: string
  /** False with --no-spot. */
  spot?: boolean
  /** False with --no-docker. */
  docker?: boolean
}

/**
 * A file is for every gateway that its project may meet, so what the launcher does not offer is left aside; of an option
 * the gateway says that it cannot be had.
 * @returns the machine, when anything is asked, and the keys of the file that are left aside
 */
export function machineOf(
  options: MachineOptions,
  project: Project | undefined,
  offers: Offers,
): { machine: Machine | undefined; leftAside: string[] } {
  const { image, cpu, memory, docker } = project?.settings ?? {}
  const wanted = [
    { key: 'image', value: image, isOffered: offers.images !== undefined },
    { key: 'cpu', value: cpu, isOffered: offers.size !== undefined },
    { key: 'memory', value: memory, isOffered: offers.size !== undefined },
    {
      key: 'docker',
      value: options.docker === undefined && docker ? docker : undefined,
      isOffered: offers.docker === true,
    },
  ].filter(({ value }) => value !== undefined)
  const taken = Object.fromEntries(wanted.flatMap(({ key, value, isOffered }) => (isOffered ? [[key, value]] : [])))
  const all: MachineOptions = { ...taken, ...given(options) }
  const machine = {
    ...(all.cpu !== undefined && { cpu: all.cpu }),
    ...(all.memory !== undefined && { memoryBytes: all.memory }),
    ...(all.image !== undefined && { image: all.image }),
    ...(all.spot !== undefined && { spot: all.spot }),
    ...(all.docker === true && { docker: true }),
  }
  return {
    machine: Object.keys(machine).length === 0 ? undefined : machine,
    leftAside: wanted.flatMap(({ key, isOffered }) => (isOffered ? [] : [key])),
  }
}

/** A gateway that is older says nothing of what its launchers offer: nothing. */
export function offersOf(info: Pick<GatewayInfo, 'launchers' | 'defaultLauncher'>, launcher?: string): Offers {
  const name = launcher ?? info.defaultLauncher
  return info.launchers.find((one) => one.name === name)?.offers ?? {}
}

const given = ({ cpu, memory, image, spot, docker }: MachineOptions): MachineOptions =>
  Object.fromEntries(Object.entries({ cpu, memory, image, spot, docker }).filter(([, value]) => value !== undefined))
