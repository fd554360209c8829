/** The part of the configuration below `launchers`. A launcher whose section is absent is not offered. */
import { z } from 'zod'
import { Cpus, ImageName, MIN_MEMORY_BYTES, type Offers } from './machine.ts'
import { AGENTS, AgentName } from './task.ts'
import { Duration, Size } from './units.ts'

const GIB = 1024 ** 3
const Memory = Size.refine((bytes) => bytes >= MIN_MEMORY_BYTES, 'expected 64MiB or more')
const UsdPerHour = z.number().nonnegative().max(1_000)

/** Of launchers whose machines are containers. */
const container = {
  /** For coding agents that `images` does not name. */
  image: ImageName,
  images: z.partialRecord(AgentName, ImageName).default({}),
} as const

const size = (cpu: number, memory: number, maxCpu: number, maxMemory: number) => ({
  /** Of a task that asks for none. */
  cpu: Cpus.default(cpu),
  memory: Memory.default(memory),
  /** The most that a task may ask for. */
  maxCpu: Cpus.default(maxCpu),
  maxMemory: Memory.default(maxMemory),
})

const deadlines = (launch: number, dial: number) =>
  z
    .strictObject({
      /** From the request to a machine that runs: finding one and pulling the image included. */
      launch: Duration.default(launch),
      /** From then on, for the agent to dial in. */
      dial: Duration.default(dial),
    })
    .prefault({})

interface Sized {
  cpu: number
  memory: number
  maxCpu: number
  maxMemory: number
}

function defaultsWithinCaps({ cpu, memory, maxCpu, maxMemory }: Sized, context: z.RefinementCtx): void {
  const refuse = (key: string, cap: string) =>
    context.addIssue({ code: 'custom', path: [key], message: `is more than ${cap}, the most that a task may ask for` })
  if (cpu > maxCpu) refuse('cpu', 'maxCpu')
  if (memory > maxMemory) refuse('memory', 'maxMemory')
}

const ProcessSection = z
  .strictObject({
    enabled: z.boolean().default(true),
    /** What an hour of a task counts as; undefined: nothing is counted. */
    usdPerHour: UsdPerHour.optional(),
  })
  .prefault({})

/** Mode or name, as `docker run --network` takes it. */
const Network = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, 'expected a network such as bridge')

/** The engine of a task that asks for one (`--docker`), in a container of its own beside the task's. */
const TaskEngine = z.strictObject({
  /** Its program is started as `dockerd ...`. */
  image: ImageName,
  /** Of dockerd, after the one that names its socket. */
  args: z.array(z.string().min(1).max(1_000)).max(50).default([]),
  /** Whoever uses such an engine can become root on the machine that it runs on. */
  privileged: z.boolean().default(true),
  /** Of one that is not privileged, besides what a container has unless told. */
  capabilities: z
    .array(z.string().regex(/^[A-Z][A-Z_]*$/, 'expected a capability such as NET_ADMIN'))
    .max(50)
    .default([]),
  /** Where the task has the machine's own network, which the engine must not have: it would change it. */
  network: Network.refine(
    (mode) => mode !== 'host',
    'must not be host: the engine would change the network of its machine',
  ).default('bridge'),
})
export type TaskEngine = z.infer<typeof TaskEngine>

export const DockerSection = z
  .strictObject({
    ...container,
    ...size(2, 4 * GIB, 8, 16 * GIB),
    /** The engine. Undefined: DOCKER_HOST of the gateway's environment, otherwise the local socket. */
    host: z
      .string()
      .regex(/^(unix:\/\/\/|tcp:\/\/|https?:\/\/)./, 'expected unix:///path, tcp://host:port or https://host:port')
      .optional(),
    network: Network.refine((mode) => mode !== 'none', 'must not be none: the agent has to reach the gateway').default(
      'bridge',
    ),
    pull: z.enum(['missing', 'always', 'never']).default('missing'),
    /** Of a container, threads counted. */
    maxProcesses: z.number().int().min(64).max(1_000_000).default(4_096),
    /** On the engine's machine: `node` and the agent, seen read-only in every container, for images that have no agent. */
    agentFolder: z
      .string()
      .regex(/^\/[^:]*$/, 'expected an absolute path')
      .optional(),
    /** With `agentFolder`: name or number of the user, and group, that the work runs as. */
    workUser: z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*(:\d+)?$/, 'expected a user such as 1000:1000')
      .default('1000:1000'),
    /** Undefined: no task has an engine. */
    taskEngine: TaskEngine.optional(),
    /** Of every container, besides the launcher's own. */
    labels: z.record(z.string().min(1).max(128), z.string().max(1_000)).default({}),
    deadlines: deadlines(900, 120),
    usdPerHour: UsdPerHour.optional(),
  })
  .superRefine(defaultsWithinCaps)
export type DockerSection = z.infer<typeof DockerSection>

const RoleArn = z
  .string()
  .regex(/^arn:aws[a-z-]*:iam::\d{12}:role\/.+$/, 'expected a role such as arn:aws:iam::123456789012:role/rclaude-task')

export const EcsSection = z
  .strictObject({
    ...container,
    ...size(1, 4 * GIB, 4, 16 * GIB),
    /** Name or ARN. */
    cluster: z.string().min(1).max(300),
    region: z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d+$/, 'expected a region such as eu-central-1'),
    /** Another address of the ECS API, for tests and VPC endpoints. */
    endpoint: z.url({ protocol: /^https?$/ }).optional(),
    subnets: z
      .array(z.string().regex(/^subnet-[0-9a-z]+$/, 'expected a subnet such as subnet-0123456789abcdef0'))
      .min(1, 'expected one subnet at least')
      .max(16),
    securityGroups: z
      .array(z.string().regex(/^sg-[0-9a-z]+$/, 'expected a security group such as sg-0123456789abcdef0'))
      .max(5)
      .default([]),
    assignPublicIp: z.boolean().default(false),
    /** Where tasks run that do not say `--spot` or `--no-spot`. */
    capacity: z.enum(['fargate', 'fargate-spot', 'ec2']).default('fargate'),
    /** When there is no Spot capacity: take Fargate at its full price, instead of waiting. */
    onDemandFallback: z.boolean().default(true),
    /** For `ec2`; undefined: no task has an engine. It is privileged: ECS gives no other way. */
    taskEngine: TaskEngine.pick({ image: true, args: true }).optional(),
    /** Of the cluster; for `ec2`. */
    capacityProviders: z.array(z.string().min(1).max(255)).max(20).default([]),
    /** Pulls the image and writes the log. */
    executionRoleArn: RoleArn.optional(),
    /** Whatever runs in a task can use it. */
    taskRoleArn: RoleArn.optional(),
    architecture: z.enum(['x86_64', 'arm64']).default('x86_64'),
    /** In CloudWatch, for what the agent itself prints; undefined: nowhere. */
    logGroup: z.string().min(1).max(512).optional(),
    tags: z.record(z.string().min(1).max(128), z.string().max(256)).default({}),
    /** Fargate gives 20 GiB unless said. */
    ephemeralStorage: Size.refine(
      (bytes) => bytes >= 21 * GIB && bytes <= 200 * GIB,
      'expected 21GiB to 200GiB, as Fargate gives',
    ).optional(),
    deadlines: deadlines(1_200, 120),
    /** Instead of the list prices that the launcher knows. */
    usdPerHour: UsdPerHour.optional(),
  })
  .superRefine(defaultsWithinCaps)
  .superRefine(({ capacity, capacityProviders, ephemeralStorage, taskEngine }, context) => {
    const refuse = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message })
    if (capacity === 'ec2' && capacityProviders.length === 0)
      refuse('capacityProviders', 'is empty: with capacity ec2, name one of the cluster at least')
    if (capacity !== 'ec2' && capacityProviders.length > 0)
      refuse('capacityProviders', `is for capacity ec2, not ${capacity}`)
    if (capacity !== 'ec2' && taskEngine !== undefined)
      refuse('taskEngine', `is for capacity ec2: on Fargate there can be no Docker engine for a task`)
    if (capacity === 'ec2' && ephemeralStorage !== undefined)
      refuse('ephemeralStorage', 'is for Fargate: with capacity ec2 it is as the instances have it')
  })
export type EcsSection = z.infer<typeof EcsSection>

export const LaunchersSection = z
  .strictObject({
    default: z.string().default('process'),
    process: ProcessSection,
    docker: DockerSection.optional(),
    ecs: EcsSection.optional(),
  })
  .prefault({})

/** What a section says of images, sizes and engines, as launchers declare it. */
export function offersOf(
  section: Pick<DockerSection, 'image' | 'images'> & { taskEngine?: object | undefined } & Sized,
): Omit<Offers, 'spot'> & Required<Pick<Offers, 'images' | 'size'>> {
  return {
    images: Object.fromEntries(AGENTS.map((agent) => [agent, section.images[agent] ?? section.image])),
    size: {
      cpu: section.cpu,
      maxCpu: section.maxCpu,
      memoryBytes: section.memory,
      maxMemoryBytes: section.maxMemory,
    },
    ...(section.taskEngine && { docker: true }),
  }
}
