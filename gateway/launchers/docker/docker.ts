/**
 * Launches agents as containers of a Docker engine, which may be another machine's. All it knows is in the engine: a
 * container's name is its launch, so that the same launch never makes a second one, and its labels say whose it is.
 * A container that ended stays until it is stopped here: what it printed is the reason that people are given. A task with a
 * Docker engine of its own has two containers, which are one placement (`task-engine.ts`).
 */
import type Docker from 'dockerode'
import { RclaudeError } from '../../../protocol/errors.ts'
import { LaunchId, TaskId } from '../../../protocol/ids.ts'
import { type DockerSection, offersOf } from '../../../protocol/launcher-config.ts'
import type { Placement } from '../../../protocol/task.ts'
import type { Launcher, LaunchOptions, LaunchSpec, PlacementStatus } from '../launcher.ts'
import { type ContainerOptions, containerOf, LABELS, nameOf } from './container.ts'
import { engineAt, explain, soon, statusOf, wordsOf } from './engine.ts'
import { ensureImage } from './image.ts'
import { startOf } from './status.ts'
import { engineNameOf, isEngine, statusOfBoth, withEngine } from './task-engine.ts'

/** Between TERM and KILL. The agent needs none of it when it was told to end through the tunnel. */
const STOP_GRACE_SECONDS = 10
const WHY_NO_DOCKER = 'its tasks have no Docker engine, unless an administrator sets launchers.docker.taskEngine'
/** For the engine to have ended and removed one. */
const REMOVE_MS = 60_000

export interface DockerLauncherOptions {
  section: DockerSection
  gatewayId: string
  env: NodeJS.ProcessEnv
}

export function createDockerLauncher({ section, gatewayId, env }: DockerLauncherOptions): Launcher {
  const engine = engineAt(section.host, env)

  async function launch(spec: LaunchSpec, options: LaunchOptions): Promise<Placement> {
    const { signal } = options
    signal.throwIfAborted()
    const docker = await engine.client()
    const wanted = containersOf(spec)
    const task = docker.getContainer(nameOf(spec.launchId))
    const before = await inspectOwn(task)
    if (before === undefined || before.State.Status === 'created') await make(docker, wanted, options)
    for (const one of wanted) {
      const status = (await inspectOwn(docker.getContainer(one.name)))?.State.Status
      if (status === 'created') await start(docker, one, wanted, signal)
      else if (status !== 'running') break // what has ended is not started again: its join code is spent
    }
    const found = await inspectOwn(task)
    if (found === undefined) throw strange(nameOf(spec.launchId))
    return placementOf(spec.launchId, found.Id, Math.floor(Date.parse(found.Created) / 1000))
  }

  function containersOf(spec: LaunchSpec): ContainerOptions[] {
    const task = containerOf(spec, section, gatewayId)
    if (spec.machine.docker !== true) return [task]
    if (section.taskEngine === undefined) throw new RclaudeError('invalid', WHY_NO_DOCKER) // no longer
    return withEngine(task, spec.launchId, section, section.taskEngine)
  }

  /** Those that are not there yet; none is started before all are. */
  async function make(docker: Docker, wanted: readonly ContainerOptions[], options: LaunchOptions): Promise<void> {
    for (const { Image } of wanted) await ensureImage(engine, Image, section.pull, options, env)
    options.signal.throwIfAborted()
    for (const one of wanted) {
      await create(docker, one)
      if ((await inspectOwn(docker.getContainer(one.name))) === undefined) throw strange(one.name)
    }
  }

  async function create(docker: Docker, wanted: ContainerOptions): Promise<void> {
    try {
      const { name, ...body } = wanted
      // Else its client puts all of it into the URL as well, the join code included.
      await docker.createContainer({ _query: { name }, _body: body } as Docker.ContainerCreateOptions)
    } catch (error) {
      if (statusOf(error) === 409) return // the same launch, asked for twice at once or again
      throw refused(error, `the Docker engine does not make the container`)
    }
  }

  async function start(
    docker: Docker,
    { name, Image }: ContainerOptions,
    wanted: readonly ContainerOptions[],
    signal: AbortSignal,
  ): Promise<void> {
    try {
      signal.throwIfAborted()
      await docker.getContainer(name).start()
    } catch (error) {
      if (statusOf(error) === 304) return // started meanwhile
      // An engine joins a container that runs: of one that has ended by now it is told why.
      const isLate = (await inspectOwn(docker.getContainer(wanted[0]?.name ?? name)))?.State.Status === 'exited'
      if (isLate && !signal.aborted) return
      // What stays is in `list`.
      for (const one of wanted)
        await docker
          .getContainer(one.name)
          .remove({ force: true, v: true })
          .catch(() => {})
      signal.throwIfAborted()
      throw refused(error, `the image ${Image} does not start`)
    }
  }

  function placementOf(launchId: LaunchId, id: string, createdSeconds: number): Placement {
    return {
      launchId,
      launcher: 'docker',
      handle: id,
      startedAt: startOf(createdSeconds),
      ...(section.usdPerHour !== undefined && { usdPerHour: section.usdPerHour }),
    }
  }

  /** Undefined when there is none, or it is another gateway's. */
  async function inspectOwn(container: Docker.Container): Promise<Docker.ContainerInspectInfo | undefined> {
    try {
      const found = await container.inspect(soon())
      return found.Config.Labels[LABELS.gateway] === gatewayId ? found : undefined
    } catch (error) {
      if (statusOf(error) === 404) return undefined
      throw error
    }
  }

  async function own(docker: Docker): Promise<Docker.ContainerInfo[]> {
    const filters = { label: [`${LABELS.gateway}=${gatewayId}`] }
    return docker.listContainers({ all: true, filters, ...soon() })
  }

  async function inspect(placements: Placement[]): Promise<Map<LaunchId, PlacementStatus>> {
    const docker = await engine.client()
    const listed = placements.length === 0 ? [] : await own(docker)
    const [tasks, engines] = [listed.filter((one) => !isEngine(one)), listed.filter(isEngine)]
    const entries = placements.map(async ({ launchId }) => {
      const ofLaunch = (one: Docker.ContainerInfo) => one.Labels[LABELS.launch] === launchId
      return [launchId, await statusOfBoth(docker, tasks.find(ofLaunch), engines.find(ofLaunch))] as const
    })
    return new Map(await Promise.all(entries))
  }

  async function stop({ launchId }: Placement): Promise<void> {
    const docker = await engine.client()
    const patience = { abortSignal: AbortSignal.timeout(REMOVE_MS) }
    for (const name of [nameOf(launchId), engineNameOf(launchId)]) {
      const container = docker.getContainer(name)
      if ((await inspectOwn(container)) === undefined) continue
      // An engine has nothing to save: it and what it runs go with the task.
      if (name === nameOf(launchId))
        await container.stop({ t: STOP_GRACE_SECONDS, ...patience }).catch(unless(304, 404))
      await container.remove({ force: true, v: true, ...patience }).catch(unless(404, 409)) // 409: another call does
      await container.wait({ condition: 'removed', ...patience }).catch(unless(404))
    }
  }

  async function list(): Promise<Array<Placement & { taskId: TaskId }>> {
    const found = new Map<LaunchId, Placement & { taskId: TaskId }>()
    const listed = await own(await engine.client())
    // A task's engine that is left alone is its placement as well.
    for (const { Id, Labels, Created } of [...listed.filter(isEngine), ...listed.filter((one) => !isEngine(one))]) {
      const launchId = LaunchId.safeParse(Labels[LABELS.launch]).data
      const taskId = TaskId.safeParse(Labels[LABELS.task]).data
      if (launchId !== undefined && taskId !== undefined)
        found.set(launchId, { ...placementOf(launchId, Id, Created), taskId })
    }
    return [...found.values()]
  }

  /** What the engine's client throws never leaves here as it is. */
  const explained =
    <Arguments extends unknown[], Result>(work: (...given: Arguments) => Promise<Result>) =>
    (...given: Arguments): Promise<Result> =>
      work(...given).catch((error: unknown) => {
        throw explain(error, engine)
      })

  return {
    name: 'docker',
    isolation: 'container',
    offers: offersOf(section),
    whyNoDocker: WHY_NO_DOCKER,
    deadlines: section.deadlines,
    launch: explained(launch),
    inspect: explained(inspect),
    stop: explained(stop),
    list: explained(list),
  }
}

const strange = (name: string): RclaudeError =>
  new RclaudeError('internal', `the container ${name} was removed, or is not of this gateway's making`)

/** A request that the engine answered and refused; a failure to reach it passes as it is. */
function refused(error: unknown, what: string): unknown {
  if (statusOf(error) === undefined) return error
  return new RclaudeError('invalid', `${what}: ${wordsOf(error)}`, { cause: error })
}

const unless =
  (...expected: number[]) =>
  (error: unknown): void => {
    if (!expected.includes(statusOf(error) ?? 0)) throw error
  }
