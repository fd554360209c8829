/** One task from PROVISIONING to STOPPED, as task-lifecycle-explanation.html of the developer guide tells it. */
import { randomBytes } from 'node:crypto'
import type { KeyValuePair, RunTaskCommandInput, TaskDefinition } from '@aws-sdk/client-ecs'
import { Container, type Image } from './container.ts'

export interface TaskWorld {
  /** Milliseconds since 1970. */
  now(): number
  /** So many milliseconds are one second of ECS's own delays and time-outs. */
  secondMs: number
  image(name: string): Image | undefined
  metadataUrl(id: string): string
}

/** task_definition_parameters.html: without stopTimeout it is 30 seconds. */
const DEFAULT_STOP_SECONDS = 30
/** How long each step takes that nobody waits for long. */
const STEP_SECONDS = 0.2

export interface TaskOptions {
  cluster: string
  request: RunTaskCommandInput
  definition: TaskDefinition
  noCapacityMs: number
  missingMs: number
  shownLateMs: number
  /** Started after RunTask had refused it. */
  isGhost?: boolean
}

export class EcsTask {
  readonly id = randomBytes(16).toString('hex')
  readonly arn: string
  readonly options: TaskOptions
  readonly createdAt: number
  status = 'PROVISIONING'
  desired: 'RUNNING' | 'STOPPED' = 'RUNNING'
  stopCode: string | undefined
  stoppedReason: string | undefined
  exitCode: number | undefined
  startedAt: number | undefined
  stoppedAt: number | undefined
  /** StopTask takes them away. */
  tags: RunTaskCommandInput['tags']
  /** AWS bills from the pull of the image to the end: aws.amazon.com/fargate/pricing. */
  pullStartedAt: number | undefined
  readonly ended: Promise<void>
  readonly #world: TaskWorld
  #container: Container | undefined
  #stopping: Promise<void> | undefined
  #wake = () => {}

  constructor(world: TaskWorld, options: TaskOptions) {
    this.#world = world
    this.options = options
    this.arn = `${options.cluster.replace(':cluster/', ':task/')}/${this.id}`
    this.createdAt = world.now()
    this.tags = options.request.tags
    this.ended = this.#live()
  }

  get pid(): number | undefined {
    return this.#container?.pid
  }

  /** DescribeTasks and ListTasks are eventually consistent. */
  get isVisible(): boolean {
    return this.#world.now() >= this.createdAt + this.options.missingMs
  }

  /** The state that DescribeTasks tells. */
  get shownStatus(): string {
    const isShown = this.#world.now() >= (this.startedAt ?? 0) + this.options.shownLateMs
    return this.status === 'RUNNING' && !isShown ? 'PENDING' : this.status
  }

  /** Milliseconds that are paid for, until now or its end. */
  get billedMs(): number {
    return this.pullStartedAt === undefined ? 0 : (this.stoppedAt ?? this.#world.now()) - this.pullStartedAt
  }

  async #live(): Promise<void> {
    await this.#pause(this.options.noCapacityMs)
    await this.#pause(STEP_SECONDS * this.#world.secondMs)
    if (this.desired === 'STOPPED') return this.#over()
    this.status = 'PENDING'
    this.pullStartedAt = this.#world.now()
    await this.#pause(STEP_SECONDS * this.#world.secondMs)
    const [definition] = this.options.definition.containerDefinitions ?? []
    const image = this.#world.image(definition?.image ?? '')
    if (image === undefined && this.desired === 'RUNNING') {
      this.#note('TaskFailedToStart', `CannotPullContainerError: pull image manifest: ${definition?.image}: not found`)
      this.desired = 'STOPPED'
    }
    if (image === undefined || this.desired === 'STOPPED') return this.#over()
    const override = this.options.request.overrides?.containerOverrides?.find(({ name }) => name === definition?.name)
    const env = { ...toRecord(definition?.environment), ...toRecord(override?.environment) }
    const command = override?.command ?? definition?.command
    this.#container = new Container(image, env, command, this.#world.metadataUrl(this.id))
    this.status = 'RUNNING'
    this.startedAt = this.#world.now()
    const code = await this.#container.exited
    this.exitCode = code ?? 137
    this.#note('EssentialContainerExited', 'Essential container in task exited')
    this.desired = 'STOPPED'
    this.status = 'DEPROVISIONING'
    await this.#container.end()
    return this.#over()
  }

  #over(): void {
    this.status = 'STOPPED'
    this.stoppedAt = this.#world.now()
  }

  /** The first reason stays. */
  #note(code: string, reason: string): void {
    this.stopCode ??= code
    this.stoppedReason ??= reason
  }

  /** Returns at once: SIGTERM, then SIGKILL when the container's stopTimeout is over. */
  stop(code: string, reason: string): void {
    if (this.status === 'STOPPED') return
    this.#note(code, reason)
    this.desired = 'STOPPED'
    this.#wake()
    this.#stopping ??= this.#stop()
  }

  async #stop(): Promise<void> {
    const container = this.#container
    if (container === undefined) return
    this.status = 'STOPPING'
    container.signal('SIGTERM')
    const [definition] = this.options.definition.containerDefinitions ?? []
    const seconds = definition?.stopTimeout ?? DEFAULT_STOP_SECONDS
    const timer = setTimeout(() => container.signal('SIGKILL'), seconds * this.#world.secondMs)
    await container.exited
    clearTimeout(timer)
  }

  /** Cut short by a stop. */
  #pause(ms: number): Promise<void> {
    if (this.desired === 'STOPPED') return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

const toRecord = (pairs: readonly KeyValuePair[] | undefined): Record<string, string> =>
  Object.fromEntries((pairs ?? []).map(({ name = '', value = '' }) => [name, value]))

/** As API_Task.html has it. */
export function describe(task: EcsTask): Record<string, unknown> {
  const { request, definition, cluster } = task.options
  const [container] = definition.containerDefinitions ?? []
  const status = task.shownStatus
  const isFargate = request.capacityProviderStrategy?.[0]?.capacityProvider?.startsWith('FARGATE') === true
  const at = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000)
  return {
    taskArn: task.arn,
    clusterArn: cluster,
    taskDefinitionArn: definition.taskDefinitionArn,
    containers: [
      {
        name: container?.name,
        image: container?.image,
        lastStatus: status === 'RUNNING' || status === 'STOPPED' ? status : 'PENDING',
        exitCode: task.exitCode,
        taskArn: task.arn,
      },
    ],
    overrides: request.overrides ?? {},
    lastStatus: status,
    desiredStatus: task.desired,
    cpu: request.overrides?.cpu ?? definition.cpu,
    memory: request.overrides?.memory ?? definition.memory,
    // fargate-task-storage.html: 20 GiB unless more is asked for; instances have what they have.
    ephemeralStorage:
      request.overrides?.ephemeralStorage ?? definition.ephemeralStorage ?? (isFargate ? { sizeInGiB: 20 } : undefined),
    launchType: request.launchType ?? (request.capacityProviderStrategy === undefined ? 'EC2' : undefined),
    capacityProviderName: request.capacityProviderStrategy?.[0]?.capacityProvider,
    startedBy: request.startedBy,
    group: request.group,
    tags: task.tags ?? [],
    createdAt: at(task.createdAt),
    pullStartedAt: at(task.pullStartedAt),
    startedAt: status === 'PENDING' ? undefined : at(task.startedAt),
    stoppedAt: at(task.stoppedAt),
    stopCode: task.stopCode,
    stoppedReason: task.stoppedReason,
    version: 1,
  }
}
