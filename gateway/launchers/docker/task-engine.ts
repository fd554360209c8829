/**
 * The Docker engine of a task that asks for one: a second container beside the task's, never the engine that runs both. It
 * belongs to the launch by its labels. It shares with the task what `../task-engine.ts` says, and the network, so that ports
 * published there are on the task's loopback. All volumes are anonymous: they are made with the containers and go with the
 * last of the two.
 */
import type Docker from 'dockerode'
import type { LaunchId } from '../../../protocol/ids.ts'
import type { DockerSection, TaskEngine } from '../../../protocol/launcher-config.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import type { PlacementStatus } from '../launcher.ts'
import { ENGINE_DATA, ENGINE_SOCKET, engineCommand, SHARED_FOLDERS } from '../task-engine.ts'
import { type ContainerOptions, nameOf } from './container.ts'
import { statusOfContainer } from './status.ts'

/** Besides those of the task's container: tells the two apart. */
const ENGINE_LABEL = 'rclaude.engine'

export const engineNameOf = (launchId: LaunchId): string => `${nameOf(launchId)}-docker`
export const isEngine = ({ Labels }: Pick<Docker.ContainerInfo, 'Labels'>): boolean => ENGINE_LABEL in Labels

/**
 * In the order in which they are made, all before any is started, and started: the engine joins the network of a container
 * that runs.
 * @param task the container of a task without an engine
 */
export function withEngine(
  task: ContainerOptions,
  launchId: LaunchId,
  section: DockerSection,
  engine: TaskEngine,
): ContainerOptions[] {
  const { NanoCpus, Memory, MemorySwap, PidsLimit, RestartPolicy, LogConfig, CapAdd = [] } = task.HostConfig
  return [
    {
      ...task,
      Env: [...task.Env, `${AGENT_ENV.engineSocket}=${ENGINE_SOCKET}`],
      Volumes: Object.fromEntries(SHARED_FOLDERS.map((path) => [path, {}])),
      // Volumes begin as root's: the agent gives them, and the socket, to the work's user.
      HostConfig: { ...task.HostConfig, CapAdd: [...new Set([...CapAdd, 'CHOWN'])] },
    },
    {
      name: engineNameOf(launchId),
      Image: engine.image,
      Labels: { ...task.Labels, [ENGINE_LABEL]: '' },
      Env: [],
      Cmd: engineCommand(engine.args),
      Volumes: { [ENGINE_DATA]: {} },
      HostConfig: {
        Init: true,
        ...{ NanoCpus, Memory, MemorySwap, PidsLimit, RestartPolicy, LogConfig },
        NetworkMode: section.network === 'host' ? engine.network : `container:${task.name}`,
        VolumesFrom: [task.name],
        ...rightsOf(engine),
      },
    },
  ]
}

/** Nobody's engine works below the profiles of an ordinary container, or with parts of /proc and /sys hidden from it. */
const rightsOf = ({ privileged, capabilities }: TaskEngine): Docker.HostConfig =>
  privileged
    ? { Privileged: true }
    : {
        CapAdd: capabilities,
        SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
        MaskedPaths: [],
        ReadonlyPaths: [],
      }

/** A launch's containers as one placement. The engine is made before the task is started, and never again. */
export async function statusOfBoth(
  docker: Docker,
  task: Docker.ContainerInfo | undefined,
  engine: Docker.ContainerInfo | undefined,
): Promise<PlacementStatus> {
  if (task === undefined) return { status: 'gone', reason: 'placement_gone', detail: 'there is no such container' }
  const status = await statusOfContainer(docker, task)
  if (status.status !== 'running' || engine === undefined) return status
  const beside = await statusOfContainer(docker, engine)
  if (beside.status === 'running') return status
  if (beside.status === 'pending')
    return { status: 'pending', detail: "the task's Docker engine is not started yet", isCutOff: true }
  return { ...status, engineEnded: `the task's Docker engine has ended: ${beside.detail}` }
}
