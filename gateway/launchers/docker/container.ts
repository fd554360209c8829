/** What a container is made with, and how ours are told from everybody else's. */
import type Docker from 'dockerode'
import type { LaunchId } from '../../../protocol/ids.ts'
import type { DockerSection } from '../../../protocol/launcher-config.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import { containerEnvironment, type LaunchSpec } from '../launcher.ts'

export const LABELS = { gateway: 'rclaude.gateway', task: 'rclaude.task', launch: 'rclaude.launch' } as const

/** Where `launchers.docker.agentFolder` is seen. The images have the agent in the same place. */
const AGENT_FOLDER = '/opt/rclaude'
/**
 * All that the agent may do besides what any user may: start the work as another user (SETUID, SETGID) and end it (KILL).
 * The work itself has none of them, and cannot get any: its user is not root, and set-id programs give it nothing.
 */
const CAPABILITIES = ['SETUID', 'SETGID', 'KILL']
/** Of what the agent prints: a few lines, unless something is wrong. */
const LOG_BYTES = 1024 ** 2
const NANOS = 1e9

export const nameOf = (launchId: LaunchId): string => `rclaude-${launchId}`

export type ContainerOptions = Docker.ContainerCreateOptions & {
  name: string
  Image: string
  Env: string[]
  HostConfig: Docker.HostConfig
}

export function containerOf(spec: LaunchSpec, section: DockerSection, gatewayId: string): ContainerOptions {
  const { cpu = section.cpu, memoryBytes = section.memory, image = section.image } = spec.machine
  const isOnHost = URL.canParse(spec.gatewayUrl) && new URL(spec.gatewayUrl).hostname === HOST_NAME
  const isForeign = section.agentFolder !== undefined // the image knows nothing of agents and users
  return {
    name: nameOf(spec.launchId),
    Image: image,
    Labels: {
      ...section.labels,
      [LABELS.gateway]: gatewayId,
      [LABELS.task]: spec.taskId,
      [LABELS.launch]: spec.launchId,
    },
    Env: Object.entries({
      ...containerEnvironment(spec),
      ...(isForeign && { [AGENT_ENV.workUser]: section.workUser }),
    }).map(([name, value]) => `${name}=${value}`),
    ...(isForeign && { Entrypoint: [`${AGENT_FOLDER}/node`, `${AGENT_FOLDER}/agent.js`], Cmd: [], User: '0:0' }),
    HostConfig: {
      Init: true, // what the work leaves behind is reaped
      NanoCpus: Math.round(cpu * NANOS),
      Memory: memoryBytes,
      MemorySwap: memoryBytes, // no swap besides
      PidsLimit: section.maxProcesses,
      NetworkMode: section.network,
      ...(isOnHost && section.network !== 'host' && { ExtraHosts: [`${HOST_NAME}:host-gateway`] }),
      CapDrop: ['ALL'],
      CapAdd: CAPABILITIES,
      SecurityOpt: ['no-new-privileges'],
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'json-file', Config: { 'max-size': String(LOG_BYTES), 'max-file': '1' } },
      ...(isForeign && { Binds: [`${section.agentFolder}:${AGENT_FOLDER}:ro`] }),
    },
  }
}

/** As Docker Desktop calls the machine that the engine runs on; elsewhere it is known only when asked for. */
const HOST_NAME = 'host.docker.internal'
