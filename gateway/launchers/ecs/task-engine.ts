/**
 * The Docker engine of a task that asks for one, where tasks run on EC2: a second container of the same ECS task, which ends
 * with the first. ECS gives a task's containers one network, and all of its CPUs and memory together.
 */
import type { ContainerDefinition, RegisterTaskDefinitionCommandInput } from '@aws-sdk/client-ecs'
import type { EcsSection } from '../../../protocol/launcher-config.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import { ENGINE_DATA, ENGINE_SOCKET, engineCommand, SHARED_FOLDERS } from '../task-engine.ts'

export const ENGINE_CONTAINER = 'docker'
/** It has nothing to save. */
const STOP_SECONDS = 5

type Definition = Pick<RegisterTaskDefinitionCommandInput, 'volumes'> & { containerDefinitions: ContainerDefinition[] }

/** @param definition of a task without an engine: the agent's container alone */
export function withEngine<Whole extends Definition>(
  definition: Whole,
  { image, args }: NonNullable<EcsSection['taskEngine']>,
): Whole {
  const [agent, ...others] = definition.containerDefinitions
  const mountPoints = SHARED_FOLDERS.map((containerPath) => ({ sourceVolume: volumeOf(containerPath), containerPath }))
  const capabilities = agent?.linuxParameters?.capabilities
  return {
    ...definition,
    volumes: [...SHARED_FOLDERS, ENGINE_DATA].map((path) => ({ name: volumeOf(path), host: {} })),
    containerDefinitions: [
      {
        ...agent,
        environment: [{ name: AGENT_ENV.engineSocket, value: ENGINE_SOCKET }],
        mountPoints,
        dependsOn: [{ containerName: ENGINE_CONTAINER, condition: 'START' }], // the agent waits for its answer
        linuxParameters: {
          ...agent?.linuxParameters,
          // Volumes begin as root's: the agent gives them, and the socket, to the work's user.
          capabilities: { ...capabilities, drop: capabilities?.drop?.filter((name) => name !== 'CHOWN') ?? [] },
        },
      },
      {
        name: ENGINE_CONTAINER,
        image,
        essential: false,
        privileged: true,
        command: engineCommand(args),
        stopTimeout: STOP_SECONDS,
        linuxParameters: { initProcessEnabled: true },
        mountPoints: [...mountPoints, { sourceVolume: volumeOf(ENGINE_DATA), containerPath: ENGINE_DATA }],
        ...(agent?.logConfiguration && { logConfiguration: agent.logConfiguration }),
      },
      ...others,
    ],
  }
}

const volumeOf = (path: string): string => path.slice(1).replaceAll('/', '-')
