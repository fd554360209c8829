/** What ECS is asked for: a task definition for each kind of container, and all that differs between two tasks as overrides. */
import { createHash } from 'node:crypto'
import type { KeyValuePair, RegisterTaskDefinitionCommandInput, RunTaskCommandInput } from '@aws-sdk/client-ecs'
import { RclaudeError } from '../../../protocol/errors.ts'
import type { EcsSection } from '../../../protocol/launcher-config.ts'
import { containerEnvironment, type LaunchSpec } from '../launcher.ts'
import { ecsSize } from './sizes.ts'
import { withEngine } from './task-engine.ts'

export const CONTAINER = 'agent'
/** Fargate's most: time to save what there is when Spot takes the machine away. */
const STOP_SECONDS = 120
/** API_TaskOverride.html: of the JSON. */
const MAX_OVERRIDES = 8_192
const GIB = 1024 ** 3
/** Subnets that are asked for Spot before it is on demand: a task is launched `limits.launchAttempts` times, 5 unless told. */
const MAX_SPOT_TRIES = 2
/**
 * Of those that a container has unless told: what is left is what the agent needs, as in gateway/launchers/docker/container.ts.
 */
const DROPPED = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETPCAP',
  'SYS_CHROOT',
] as const

/** ECS lists by it alone, and it outlives the tags, which a stop takes away. */
export const startedBy = (gatewayId: string): string => `rclaude/${gatewayId}`
/** Undefined for what no gateway started. */
export const gatewayOf = (by = ''): string | undefined => /^rclaude\/(.+)$/.exec(by)?.[1]

/**
 * Its family is the hash of what is in it, so the same is never registered twice.
 * @param docker with an engine of its own; only where `taskEngine` is configured
 */
export function definitionOf(
  section: EcsSection,
  image: string,
  docker = false,
): RegisterTaskDefinitionCommandInput & { family: string } {
  const { capacity, architecture, executionRoleArn, taskRoleArn, logGroup, region, ephemeralStorage } = section
  const plain = {
    networkMode: 'awsvpc',
    requiresCompatibilities: [capacity === 'ec2' ? 'EC2' : 'FARGATE'],
    // Each task has its own as an override; Fargate wants some here.
    cpu: '256',
    memory: '512',
    runtimePlatform: { cpuArchitecture: architecture === 'arm64' ? 'ARM64' : 'X86_64', operatingSystemFamily: 'LINUX' },
    ...(executionRoleArn && { executionRoleArn }),
    ...(taskRoleArn && { taskRoleArn }),
    ...(ephemeralStorage && { ephemeralStorage: { sizeInGiB: Math.ceil(ephemeralStorage / GIB) } }),
    containerDefinitions: [
      {
        name: CONTAINER,
        image,
        essential: true,
        stopTimeout: STOP_SECONDS,
        linuxParameters: {
          initProcessEnabled: true, // what the work leaves behind is reaped
          capabilities: { drop: [...DROPPED] },
        },
        ...(logGroup && {
          logConfiguration: {
            logDriver: 'awslogs',
            options: { 'awslogs-group': logGroup, 'awslogs-region': region, 'awslogs-stream-prefix': 'rclaude' },
          },
        }),
      },
    ],
  } satisfies Partial<RegisterTaskDefinitionCommandInput>
  const kept = docker && section.taskEngine !== undefined ? withEngine(plain, section.taskEngine) : plain
  const hash = createHash('sha256').update(JSON.stringify(kept)).digest('hex').slice(0, 16)
  return { family: `rclaude-${hash}`, ...kept } as RegisterTaskDefinitionCommandInput & { family: string }
}

/** One of the ways to have a machine. */
export interface Way {
  subnet: string
  spot: boolean
}

/** In the order in which they are tried. Tasks begin with different subnets, the same task always with the same. */
export function waysOf(section: EcsSection, spec: LaunchSpec): Way[] {
  const { subnets, capacity, onDemandFallback } = section
  const first = createHash('sha256').update(spec.taskId).digest().readUInt32BE() % subnets.length
  const turned = [...subnets.slice(first), ...subnets.slice(0, first)]
  const wantsSpot = capacity !== 'ec2' && (spec.machine.spot ?? capacity === 'fargate-spot')
  const onDemand = turned.map((subnet) => ({ subnet, spot: false }))
  const spot = turned.map((subnet) => ({ subnet, spot: true }))
  if (!wantsSpot) return onDemand
  return onDemandFallback ? [...spot.slice(0, MAX_SPOT_TRIES), ...onDemand] : spot
}

/** Its token is the launch's own. The same for the same launch and way, to the letter: else that would be a conflict. */
export function requestOf(
  section: EcsSection,
  spec: LaunchSpec,
  { gatewayId, definition, way }: { gatewayId: string; definition: string; way: Way },
): RunTaskCommandInput & { clientToken: string } {
  const environment = Object.entries(containerEnvironment(spec))
  const overrides = {
    ...ecsSize(spec.machine),
    containerOverrides: [{ name: CONTAINER, environment: environment.map(([name, value]) => ({ name, value })) }],
  }
  if (JSON.stringify(overrides).length > MAX_OVERRIDES)
    throw new RclaudeError(
      'invalid',
      `what the container is told is longer than the ${MAX_OVERRIDES} characters that ECS takes`,
    )
  return {
    clientToken: spec.launchId,
    cluster: section.cluster,
    taskDefinition: definition,
    count: 1,
    capacityProviderStrategy:
      section.capacity === 'ec2'
        ? section.capacityProviders.map((capacityProvider) => ({ capacityProvider, weight: 1 }))
        : [{ capacityProvider: way.spot ? 'FARGATE_SPOT' : 'FARGATE', weight: 1 }],
    networkConfiguration: {
      awsvpcConfiguration: {
        subnets: [way.subnet],
        ...(section.securityGroups.length > 0 && { securityGroups: section.securityGroups }),
        ...(section.capacity !== 'ec2' && { assignPublicIp: section.assignPublicIp ? 'ENABLED' : 'DISABLED' }),
      },
    },
    overrides,
    startedBy: startedBy(gatewayId),
    enableECSManagedTags: false,
    tags: Object.entries({ ...section.tags, 'rclaude:task': spec.taskId }).map(([key, value]) => ({ key, value })),
  }
}

/** A variable that a task was started with. */
export const variableOf = (pairs: readonly KeyValuePair[] | undefined, name: string): string | undefined =>
  pairs?.find((pair) => pair.name === name)?.value
