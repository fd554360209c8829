/**
 * Launches agents as containers of a Docker engine, which may be another machine's. All it knows is in the engine: a
 * container's name is its launch, so that the same launch never makes a second one, and its labels say whose it is.
 * A container that ended stays until it is stopped here: what it printed is the reason that people are given.
 */
import type Docker from 'dockerode'
import { RclaudeError } from '../../../protocol/errors.ts'
import { LaunchId, TaskId } from '../../../protocol/ids.ts'
import { type DockerSection, offersOf } from '../../../protocol/launcher-config.ts'
import type { Placement } from '../../../protocol/task.ts'
import type { Launcher, LaunchOptions, LaunchSpec, PlacementStatus } from '../launcher.ts'
import { containerOf, LABELS, nameOf } from './container.ts'
import { engineAt, explain, soon, statusOf, wordsOf } from './engine.ts'
import { ensureImage } from './image.ts'
import { startOf, statusOfContainer } from './status.ts'

/** Between TERM and KILL. The agent needs none of it when it was told to end through the tunnel. */
const STOP_GRACE_SECONDS = 10
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
    const container = docker.getContainer(nameOf(spec.launchId))
    let found = await inspectOwn(container)
    if (found === undefined) {
      const { image = section.image } = spec.machine
      await ensureImage(engine, image, section.pull, options, env)
      signal.throwIfAborted()
      await create(docker, containerOf(spec, section, gatewayId))
      found = await inspectOwn(container)
    }
    if (found === undefined)
      throw new RclaudeError(
        'internal',
        `the container ${nameOf(spec.launchId)} was removed, or is not of this gateway's making`,
      )
    // One that has ended is not started again: its join code is spent.
    if (found.State.Status === 'created') await start(container, found, signal)
    return placementOf(spec.launchId, found.Id, Math.floor(Date.parse(found.Created) / 1000))
  }

  async function create(docker: Docker, wanted: Docker.ContainerCreateOptions): Promise<void> {
    try {
      await docker.createContainer(wanted)
    } catch (error) {
      if (statusOf(error) === 409) return // the same launch, asked for twice at once
      throw refused(error, `the Docker engine does not make the container`)
    }
  }

  async function start(
    container: Docker.Container,
    { Config }: Docker.ContainerInspectInfo,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      signal.throwIfAborted()
      await container.start()
    } catch (error) {
      if (statusOf(error) === 304) return // started meanwhile
      await container.remove({ force: true, v: true }).catch(() => {}) // else it is in `list`
      signal.throwIfAborted()
      throw refused(error, `the image ${Config.Image} does not start`)
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
    const byLaunch = new Map(listed.map((container) => [container.Labels[LABELS.launch], container]))
    const entries = placements.map(async ({ launchId }) => {
      const container = byLaunch.get(launchId)
      const gone: PlacementStatus = { status: 'gone', reason: 'placement_gone', detail: 'there is no such container' }
      return [launchId, container === undefined ? gone : await statusOfContainer(docker, container)] as const
    })
    return new Map(await Promise.all(entries))
  }

  async function stop({ launchId }: Placement): Promise<void> {
    const container = (await engine.client()).getContainer(nameOf(launchId))
    const patience = { abortSignal: AbortSignal.timeout(REMOVE_MS) }
    if ((await inspectOwn(container)) === undefined) return
    await container.stop({ t: STOP_GRACE_SECONDS, ...patience }).catch(unless(304, 404))
    await container.remove({ force: true, v: true, ...patience }).catch(unless(404, 409)) // 409: another call does
    await container.wait({ condition: 'removed', ...patience }).catch(unless(404))
  }

  async function list(): Promise<Array<Placement & { taskId: TaskId }>> {
    return (await own(await engine.client())).flatMap(({ Id, Labels, Created }) => {
      const launchId = LaunchId.safeParse(Labels[LABELS.launch]).data
      const taskId = TaskId.safeParse(Labels[LABELS.task]).data
      return launchId === undefined || taskId === undefined ? [] : [{ ...placementOf(launchId, Id, Created), taskId }]
    })
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
    deadlines: section.deadlines,
    launch: explained(launch),
    inspect: explained(inspect),
    stop: explained(stop),
    list: explained(list),
  }
}

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
