/**
 * Launches agents as tasks of ECS, on Fargate or on EC2. All that must be known of a launch is kept before ECS is asked, and the
 * token in it makes asking again harmless: a gateway that is killed between question and answer finds the one task that it
 * bought. Everything of ours in a cluster carries `startedBy = rclaude/GATEWAY`; the rest is never touched.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { ConflictException, ECSClientConfig, RunTaskCommandInput, Task } from '@aws-sdk/client-ecs'
import { RclaudeError } from '../../../protocol/errors.ts'
import { LaunchId, TaskId } from '../../../protocol/ids.ts'
import { type EcsSection, offersOf } from '../../../protocol/launcher-config.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import type { Placement } from '../../../protocol/task.ts'
import type { Launcher, LaunchOptions, LaunchSpec, PlacementStatus, Vouching } from '../launcher.ts'
import { EcsApi } from './api.ts'
import { Definitions } from './definitions.ts'
import { diagnose } from './diagnose.ts'
import { CONTAINER, gatewayOf, requestOf, startedBy, variableOf, type Way, waysOf } from './request.ts'
import { checkFargateSize, usdPerHour } from './sizes.ts'
import { refusalOf, statusOfTask } from './status.ts'
import { Tasks } from './tasks.ts'
import { together } from './together.ts'

/** ECS is eventually consistent: for so long after RunTask it may not know the task. */
const GRACE_MS = 5 * 60_000
/** Tasks of which it is known where there was no machine for them: some are stopped in the queue, and nobody says so here. */
const MAX_REMEMBERED = 1_000
/** A stopped task is looked at until it is gone: stopTimeout, and what ECS needs besides. */
const STOPPED_WITHIN_MS = 4 * 60_000

export interface EcsLauncherOptions {
  section: EcsSection
  gatewayId: string
  credentials?: ECSClientConfig['credentials']
  /** For tests, where ECS's minutes are moments. */
  graceMs?: number
  pollMs?: number
  firstPauseMs?: number
}

/** The place in which a launch asks, and its number among those of its task. */
type NumberedWay = Way & { index: number }

/** What is kept of a launch while it is under way. */
interface Note {
  /** Of the first request: later than the deadline nothing is asked again, it would buy a new machine. */
  at: string
  way: NumberedWay
  request: RunTaskCommandInput
}

export function createEcsLauncher(options: EcsLauncherOptions): Launcher {
  const { section, gatewayId, graceMs = GRACE_MS, pollMs = 2_000 } = options
  const api = new EcsApi(options)
  const definitions = new Definitions(api, section)
  const tasks = new Tasks(api, section.cluster)
  const mine = startedBy(gatewayId)
  const launching = new Map<LaunchId, Promise<Placement>>()
  /** Of tasks that have no machine yet: how many places had none. Forgotten at a restart, which costs a try. */
  const triedWays = new Map<TaskId, number>()

  /** A second call of this process joins the first; one of a later process has the first one's note. */
  function launch(spec: LaunchSpec, call: LaunchOptions): Promise<Placement> {
    const known = launching.get(spec.launchId)
    if (known !== undefined) return known
    const work = begin(spec, call)
    launching.set(spec.launchId, work)
    work.catch(() => launching.delete(spec.launchId))
    return work
  }

  async function begin(spec: LaunchSpec, call: LaunchOptions): Promise<Placement> {
    call.signal.throwIfAborted()
    const kept = call.kept as Note | undefined
    if (kept !== undefined) {
      const found = await find(spec.launchId)
      if (found !== undefined) return placementOf(found)
      if (Date.now() > Date.parse(kept.at) + section.deadlines.launch * 1000)
        throw new RclaudeError('unavailable', 'the launch was cut off too long ago to be asked for again')
    }
    const { way, request } = kept ?? (await prepare(spec, call))
    const answer = await run(request, call.signal)
    if ('task' in answer) return placed(spec, answer.task)
    if (!answer.mayHelp) throw new RclaudeError('internal', answer.text)
    // A refusal has been seen to start its task all the same.
    const ghost = await find(spec.launchId)
    if (ghost !== undefined) return placed(spec, ghost)
    if (triedWays.size >= MAX_REMEMBERED) triedWays.clear()
    triedWays.set(spec.taskId, way.index + 1)
    throw new RclaudeError('unavailable', `${way.spot ? 'Spot in ' : ''}${way.subnet}: ${answer.text}`)
  }

  /**
   * One launch asks for one machine in one place. The next place is the next launch's, with an id of its own: should this one's
   * task start after all, it is nobody's, and is swept.
   */
  async function prepare(spec: LaunchSpec, call: LaunchOptions): Promise<Note> {
    const ways = waysOf(section, spec)
    const index = (triedWays.get(spec.taskId) ?? 0) % ways.length
    const way = { ...(ways[index] as Way), index }
    if (!way.spot && ways[0]?.spot) call.warn('no Spot capacity: on demand instead, at its full price')
    const { image = section.image, docker } = spec.machine
    const definition = await definitions.ensure(image, docker)
    const request = requestOf(section, spec, { gatewayId, definition, way })
    const note: Note = { at: new Date().toISOString(), way, request }
    call.keep(note)
    return note
  }

  function placed(spec: LaunchSpec, task: Task): Placement {
    triedWays.delete(spec.taskId)
    return placementOf(task)
  }

  async function run(
    request: RunTaskCommandInput,
    signal: AbortSignal,
  ): Promise<{ task: Task } | { mayHelp: boolean; text: string }> {
    try {
      const { tasks: [task] = [], failures: [failure] = [] } = await api.call(
        'run',
        'RunTask',
        (ecs, options) => ecs.runTask(request, options),
        signal,
      )
      return task !== undefined ? { task } : refusalOf(failure ?? {})
    } catch (error) {
      if (/task ?definition is inactive/i.test((error as Error).message))
        definitions.forget(request.taskDefinition ?? '')
      if ((error as Error).name !== 'ConflictException') throw error
      const [task] = await tasks.describe((error as ConflictException).resourceIds ?? [])
      if (task === undefined) throw error
      return { task } // the same token had bought it before
    }
  }

  async function find(launchId: LaunchId): Promise<Task | undefined> {
    return (await own()).find((task) => launchOf(task) === launchId)
  }

  /** Tasks of this gateway that run, or are meant to. */
  const own = () => tasks.alive(mine)

  const describeSoon = together(describeByArn)

  async function describeByArn(arns: readonly string[]): Promise<Map<string, Task>> {
    return new Map((await tasks.describe(arns)).map((task) => [task.taskArn ?? '', task]))
  }

  /** A claim is a TaskARN: what ECS's metadata server calls the task to whoever asks from inside. */
  async function vouch({ handle }: Placement, claim: string | undefined): Promise<Vouching> {
    if (claim !== handle) return 'no'
    const status = (await describeSoon(handle))?.lastStatus
    if (status === 'RUNNING') return 'yes'
    return status === 'STOPPED' || status === 'DELETED' ? 'no' : 'not_yet'
  }

  async function inspect(placements: Placement[]): Promise<Map<LaunchId, PlacementStatus>> {
    const asked = placements.filter(({ handle }) => isArn(handle))
    const byArn = await describeByArn(asked.map(({ handle }) => handle))
    const missing = asked.some((placement) => !byArn.has(placement.handle) && !isFresh(placement))
    const listed = new Set(missing ? (await own()).map(({ taskArn }) => taskArn) : [])
    return new Map(
      placements.map((placement) => {
        const task = byArn.get(placement.handle)
        if (task !== undefined) return [placement.launchId, statusOfTask(task)]
        const mayBeThere = isArn(placement.handle) && (isFresh(placement) || listed.has(placement.handle))
        const status: PlacementStatus = mayBeThere
          ? { status: 'pending', detail: 'ECS does not show the task yet' }
          : { status: 'gone', reason: 'placement_gone', detail: 'ECS knows no such task' }
        return [placement.launchId, status]
      }),
    )
  }

  const isFresh = ({ startedAt }: Placement) => Date.now() < Date.parse(startedAt) + graceMs

  async function stop(placement: Placement, reason: string): Promise<void> {
    launching.delete(placement.launchId)
    if (!isArn(placement.handle)) return
    const until = Date.now() + STOPPED_WITHIN_MS
    let isAsked = false
    // What runs nothing yet is stopped at once; a container has two minutes.
    for (let wait = pollMs / 8; ; wait = Math.min(2 * wait, pollMs)) {
      const [task] = await tasks.describe([placement.handle])
      if (task === undefined && !isFresh(placement)) return
      if (task !== undefined && task.startedBy !== mine) return // another gateway's
      if (task?.lastStatus === 'STOPPED') return
      if (!isAsked) isAsked = await tasks.askToStop(placement.handle, reason)
      if (Date.now() > until)
        throw new RclaudeError(
          'internal',
          `${placement.handle} is ${task?.lastStatus ?? 'not shown by ECS'}, and does not stop`,
        )
      await pause(wait)
    }
  }

  async function list(): Promise<Array<Placement & { taskId: TaskId }>> {
    return (await own()).flatMap((task) => {
      const taskId = TaskId.safeParse(variableOf(environmentOf(task), AGENT_ENV.taskId)).data
      return taskId === undefined || launchOf(task) === undefined ? [] : [{ ...placementOf(task), taskId }]
    })
  }

  async function listForeign() {
    return (await tasks.alive()).flatMap((task) => {
      const gatewayId = task.startedBy === mine ? undefined : gatewayOf(task.startedBy)
      return gatewayId === undefined ? [] : [{ gatewayId, ...factsOf(task) }]
    })
  }

  function factsOf(task: Task) {
    const { taskArn = '', createdAt = new Date(), cpu = '0', memory = '0', capacityProviderName } = task
    const isSpot = capacityProviderName === 'FARGATE_SPOT'
    const price = usdPerHour(section, { cpu, memory, diskGib: task.ephemeralStorage?.sizeInGiB ?? 0, isSpot })
    return {
      handle: taskArn,
      startedAt: createdAt.toISOString(),
      ...(price !== undefined && { usdPerHour: price }),
    }
  }

  function placementOf(task: Task): Placement {
    const launchId = launchOf(task)
    if (launchId === undefined) throw new Error(`${task.taskArn} carries no launch id`)
    const facts = factsOf(task)
    return { launchId, launcher: 'ecs', ...facts, ...('usdPerHour' in facts && { paidFrom: null }) }
  }

  return {
    name: 'ecs',
    isolation: 'container',
    offers: { ...offersOf(section), ...(section.capacity !== 'ec2' && { spot: section.capacity === 'fargate-spot' }) },
    whyNoDocker:
      section.capacity === 'ec2'
        ? 'its tasks have no Docker engine, unless an administrator sets launchers.ecs.taskEngine'
        : 'on Fargate there can be no Docker engine for a task',
    deadlines: section.deadlines,
    ...(section.capacity !== 'ec2' && { check: checkFargateSize }),
    launch,
    inspect,
    vouch,
    stop,
    list,
    listForeign,
    diagnose: () => diagnose({ api, section, definitions, tasks, mine }),
  }
}

const isArn = (handle: string): boolean => /^arn:[^:]+:ecs:[^:]*:\d*:task\//.test(handle)

const environmentOf = (task: Task) =>
  task.overrides?.containerOverrides?.find(({ name }) => name === CONTAINER)?.environment

const launchOf = (task: Task): LaunchId | undefined =>
  LaunchId.safeParse(variableOf(environmentOf(task), AGENT_ENV.launchId)).data
