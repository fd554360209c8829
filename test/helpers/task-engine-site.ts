/**
 * A gateway whose tasks may have Docker engines of their own, on a real engine. All tests of a file share it, and at the end
 * no container and no volume of it is left.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { type DockerEngine, runDocker, startDockerEngine } from './docker-engine.ts'
import { type Images, importImages } from './docker-images.ts'
import { importTaskEngine, type TaskEngineImage } from './task-engine-image.ts'
import { type WatchedEngine, watchEngine } from './watched-engine.ts'
import { type CliResult, World } from './world.ts'

/** An image for the task's engine, out of the task's own programs. */
export const LOAD = 'tar -C / -c bin/sh bin/cat bin/id bin/touch lib lib64 | docker import - tiny > /dev/null'
/** A container without a network, since the tests' engines have none. */
export const RUN = 'docker run --rm --network none'

export interface TaskEngineSite {
  engine: DockerEngine
  /** What the gateway is given in its place. */
  watched: WatchedEngine
  images: Images
  taskEngine: TaskEngineImage
  world: World
  /** Before the first task. */
  volumes: string
  docker(...args: string[]): string
  rclaude(...args: string[]): Promise<CliResult>
}

/** @returns `site` for within tests, and what makes these */
export function withTaskEngines(): {
  site(): TaskEngineSite
  withEngine(what: string, work: (site: TaskEngineSite) => Promise<void>): void
} {
  let made: TaskEngineSite | string

  beforeAll(async () => {
    made = await startSite()
    if (typeof made === 'string') console.log(made)
  }, 120_000)

  afterAll(async () => {
    if (typeof made === 'string') return
    const { world, docker, taskEngine, images, watched, engine, volumes } = made
    await world.close()
    const left = docker('ps', '-a', '-q', '--filter', 'label=rclaude.gateway')
    if (left !== '') docker('rm', '-f', '-v', ...left.split('\n'))
    const leftVolumes = docker('volume', 'ls', '-q')
    taskEngine.remove()
    images.remove()
    await watched.close()
    await engine.close()
    expect(left).toBe('')
    expect(leftVolumes).toBe(volumes)
  }, 60_000)

  return {
    site() {
      if (typeof made === 'string') throw new Error(made)
      return made
    },
    withEngine(what, work) {
      test(what, async (context: TestContext) => {
        if (typeof made === 'string') return context.skip(made)
        await work(made)
      }, 60_000)
    },
  }
}

/** A string says why there is none. */
async function startSite(): Promise<TaskEngineSite | string> {
  const engine = await startDockerEngine()
  if (typeof engine === 'string') return `engines of tasks are not tried: ${engine}`
  const tag = `task-engine-${process.pid}`
  const images = importImages(engine, tag, { docker: 'docker', tar: 'tar' })
  const taskEngine = importTaskEngine(engine, tag)
  const watched = await watchEngine(engine.host, join(engine.directory, 'watched'))
  const { image, args, privileged, capabilities, network } = taskEngine.settings
  const world = new World({
    RCLAUDE_LAUNCHERS__DOCKER__HOST: watched.host,
    RCLAUDE_LAUNCHERS__DOCKER__IMAGE: images.agent,
    RCLAUDE_LAUNCHERS__DOCKER__NETWORK: 'host',
    RCLAUDE_LAUNCHERS__DOCKER__PULL: 'never',
    RCLAUDE_LAUNCHERS__DOCKER__TASK_ENGINE__IMAGE: image,
    RCLAUDE_LAUNCHERS__DOCKER__TASK_ENGINE__ARGS: JSON.stringify(args),
    RCLAUDE_LAUNCHERS__DOCKER__TASK_ENGINE__PRIVILEGED: String(privileged),
    RCLAUDE_LAUNCHERS__DOCKER__TASK_ENGINE__CAPABILITIES: JSON.stringify(capabilities),
    RCLAUDE_LAUNCHERS__DOCKER__TASK_ENGINE__NETWORK: network,
    RCLAUDE_LAUNCHERS__DEFAULT: 'docker',
  })
  const docker = (...args: string[]) => runDocker(engine, args)
  const volumes = docker('volume', 'ls', '-q')
  await world.startGateway()
  const rclaude = (...args: string[]) => world.cli(args, { env: world.asAdmin })
  return { engine, watched, images, taskEngine, world, volumes, docker, rclaude }
}
