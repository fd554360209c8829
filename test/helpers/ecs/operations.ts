/** What the control plane does: cluster, task definitions, tasks. One method for each operation, named as ECS names it. */
import { createHash } from 'node:crypto'
import type {
  DescribeTasksCommandInput,
  Failure,
  ListTasksCommandInput,
  RegisterTaskDefinitionCommandInput,
  RunTaskCommandInput,
  StopTaskCommandInput,
  TaskDefinition,
} from '@aws-sdk/client-ecs'
import { EcsError, invalid } from './errors.ts'
import type { Fault } from './faults.ts'
import { checkDefinition, checkRunTask } from './rules.ts'
import { describe, EcsTask, type TaskWorld } from './task.ts'

const ACCOUNT = 'arn:aws:ecs:eu-central-1:123456789012'
/** API_ListTasks.html and API_DescribeTasks.html. */
const MAX_PAGE = 100
/** API_DescribeTasks.html: "stopped tasks appear in the returned results for at least one hour". */
const STOPPED_FOR_MS = 3_600_000
/** ECS_Idempotency.html: tokens of RunTask "expire 24 hours after the request, or one hour after the task stops". */
const TOKEN_DAY_MS = 24 * 3_600_000

type Input = Record<string, unknown>
type Answer = Record<string, unknown>

export class Operations {
  readonly clusters: readonly string[]
  readonly tasks = new Map<string, EcsTask>()
  readonly definitions = new Map<string, TaskDefinition>()
  readonly #world: TaskWorld
  readonly #tokens = new Map<string, { hash: string; task: EcsTask }>()
  /** Given out twice, as eventually consistent listings may. */
  duplicatesInPages = false
  /** The most that a page of a listing holds. */
  pageSize = MAX_PAGE
  /** Listings are that far behind. */
  hidesNewTasks = false

  constructor(world: TaskWorld, clusters: readonly string[]) {
    this.#world = world
    this.clusters = clusters
  }

  /** Undefined for an operation that nobody has needed yet. */
  run(operation: string, input: Input, fault: Fault | undefined): Answer | undefined {
    switch (operation) {
      case 'RunTask':
        return this.#runTask(input as unknown as RunTaskCommandInput, fault)
      case 'StopTask':
        return this.#stopTask(input as unknown as StopTaskCommandInput)
      case 'DescribeTasks':
        return this.#describeTasks(input as unknown as DescribeTasksCommandInput)
      case 'ListTasks':
        return this.#listTasks(input as ListTasksCommandInput)
      case 'RegisterTaskDefinition':
        return this.#register(input as unknown as RegisterTaskDefinitionCommandInput)
      case 'DescribeTaskDefinition':
        return { taskDefinition: this.#definition(String(input.taskDefinition)) }
      case 'DeregisterTaskDefinition':
        return this.#deregister(String(input.taskDefinition))
      case 'ListTaskDefinitions':
        return {
          taskDefinitionArns: [...this.definitions.values()]
            .filter(({ family, status }) => status === 'ACTIVE' && (input.familyPrefix ?? family) === family)
            .map(({ taskDefinitionArn }) => taskDefinitionArn),
        }
      case 'DescribeClusters':
        return this.#describeClusters((input.clusters as string[] | undefined) ?? ['default'])
      case 'TagResource':
        return {}
      default:
        return undefined
    }
  }

  #runTask(request: RunTaskCommandInput, fault: Fault | undefined): Answer {
    const cluster = this.#cluster(request.cluster)
    const definition = this.#definition(String(request.taskDefinition))
    // It may go on for ten minutes on AWS (DeregisterTaskDefinition); here it is over at once.
    if (definition.status === 'INACTIVE') throw new EcsError('ClientException', 'TaskDefinition is inactive')
    checkRunTask(request, definition)
    const hash = createHash('sha256')
      .update(JSON.stringify(sorted({ ...request, clientToken: undefined })))
      .digest('hex')
    const known = request.clientToken === undefined ? undefined : this.#known(request.clientToken)
    if (known !== undefined && known.hash !== hash)
      throw new EcsError('ConflictException', 'The request conflicts with one of the same client token', {
        resourceIds: [known.task.arn],
      })
    if (known !== undefined) return { tasks: [describe(known.task)], failures: [] }
    const start = () => {
      const task = new EcsTask(this.#world, {
        cluster,
        request,
        definition,
        noCapacityMs: fault?.kind === 'no-capacity' ? fault.ms : 0,
        missingMs: fault?.kind === 'missing' ? fault.ms : 0,
        shownLateMs: fault?.kind === 'shown-late' ? fault.ms : 0,
        isGhost: fault?.kind === 'ghost',
      })
      this.tasks.set(task.arn, task)
      if (request.clientToken !== undefined) this.#tokens.set(request.clientToken, { hash, task })
      return task
    }
    if (fault?.kind === 'ghost') setTimeout(start, fault.afterMs).unref()
    if (fault?.kind === 'ghost' || fault?.kind === 'failure') return { tasks: [], failures: [fault.failure] }
    return { tasks: Array.from({ length: request.count ?? 1 }, () => describe(start())), failures: [] }
  }

  #known(token: string): { hash: string; task: EcsTask } | undefined {
    const known = this.#tokens.get(token)
    if (known === undefined) return undefined
    const { createdAt, stoppedAt } = known.task
    const end = Math.min(createdAt + TOKEN_DAY_MS, (stoppedAt ?? Number.POSITIVE_INFINITY) + STOPPED_FOR_MS)
    return this.#world.now() < end ? known : undefined
  }

  #stopTask({ cluster, task: name, reason }: StopTaskCommandInput): Answer {
    const task = this.#task(this.#cluster(cluster), String(name))
    if (task === undefined || !task.isVisible) throw invalid('The referenced task was not found.')
    task.tags = []
    task.stop('UserInitiated', reason ?? 'Task stopped by user')
    return { task: describe(task) }
  }

  #describeTasks({ cluster, tasks = [], include = [] }: DescribeTasksCommandInput): Answer {
    const arn = this.#cluster(cluster)
    if (tasks.length === 0 || tasks.length > MAX_PAGE) throw invalid('Tasks must have from 1 to 100 entries.')
    const found: Answer[] = []
    const failures: Failure[] = []
    for (const name of tasks) {
      const task = this.#task(arn, name)
      if (task === undefined || !task.isVisible) failures.push({ arn: name, reason: 'MISSING' })
      else found.push({ ...describe(task), ...(!include.includes('TAGS') && { tags: [] }) })
    }
    return { tasks: found, failures }
  }

  #listTasks(request: ListTasksCommandInput): Answer {
    const cluster = this.#cluster(request.cluster)
    const { startedBy, family, launchType, serviceName, containerInstance, maxResults = MAX_PAGE, nextToken } = request
    // API_ListTasks.html, startedBy: "it must be the only filter that you use".
    if (
      startedBy !== undefined &&
      [family, launchType, serviceName, containerInstance].some((one) => one !== undefined)
    )
      throw invalid('startedBy must be the only filter')
    if (maxResults < 1 || maxResults > MAX_PAGE) throw invalid('maxResults must be from 1 to 100')
    const desired = request.desiredStatus ?? 'RUNNING'
    const arns = [...this.tasks.values()]
      .filter((task) => task.options.cluster === cluster && task.isVisible && task.desired === desired)
      .filter(
        (task) => this.#isDescribed(task) && (startedBy === undefined || task.options.request.startedBy === startedBy),
      )
      .map(({ arn }) => arn)
    if (this.hidesNewTasks) return { taskArns: [] }
    const from = Number(nextToken ?? 0)
    const size = Math.min(maxResults, this.pageSize)
    const page = arns.slice(from, from + size)
    const again = this.duplicatesInPages && from > 0 ? arns.slice(from - 1, from) : []
    return {
      taskArns: [...again, ...page],
      ...(from + size < arns.length && { nextToken: String(from + size) }),
    }
  }

  #isDescribed = ({ stoppedAt }: EcsTask) => stoppedAt === undefined || this.#world.now() < stoppedAt + STOPPED_FOR_MS

  #task(cluster: string, name: string): EcsTask | undefined {
    const task = [...this.tasks.values()].find(({ arn, id }) => arn === name || id === name)
    return task !== undefined && task.options.cluster === cluster && this.#isDescribed(task) ? task : undefined
  }

  #cluster(name = 'default'): string {
    const arn = name.startsWith('arn:') ? name : `${ACCOUNT}:cluster/${name}`
    if (!this.clusters.some((one) => arn.endsWith(`:cluster/${one}`)))
      throw new EcsError('ClusterNotFoundException', 'Cluster not found.')
    return arn
  }

  #definition(name: string): TaskDefinition {
    const short = name.replace(/^arn:.*:task-definition\//, '')
    const found = short.includes(':')
      ? this.definitions.get(short)
      : [...this.definitions.values()].filter(({ family, status }) => family === short && status === 'ACTIVE').at(-1)
    if (found === undefined) throw new EcsError('ClientException', 'Unable to describe task definition.')
    return found
  }

  #register(request: RegisterTaskDefinitionCommandInput): Answer {
    checkDefinition(request)
    const { tags, ...kept } = request
    const revision = 1 + [...this.definitions.values()].filter(({ family }) => family === request.family).length
    const definition = {
      ...kept,
      revision,
      status: 'ACTIVE' as const,
      taskDefinitionArn: `${ACCOUNT}:task-definition/${request.family}:${revision}`,
      registeredAt: this.#world.now() / 1000,
    } as unknown as TaskDefinition
    this.definitions.set(`${request.family}:${revision}`, definition)
    return { taskDefinition: definition, tags: tags ?? [] }
  }

  #deregister(name: string): Answer {
    const definition = this.#definition(name)
    definition.status = 'INACTIVE'
    return { taskDefinition: definition }
  }

  #describeClusters(names: string[]): Answer {
    const known = names.filter((name) => this.clusters.some((one) => name === one || name.endsWith(`:cluster/${one}`)))
    return {
      clusters: known.map((name) => ({
        clusterArn: name.startsWith('arn:') ? name : `${ACCOUNT}:cluster/${name}`,
        clusterName: name.replace(/^arn:.*:cluster\//, ''),
        status: 'ACTIVE',
        capacityProviders: ['FARGATE', 'FARGATE_SPOT'],
      })),
      failures: names.filter((name) => !known.includes(name)).map((arn) => ({ arn, reason: 'MISSING' })),
    }
  }
}

/** The same whatever the order of members. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, one]) => one !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, one]) => [name, sorted(one)]),
  )
}
