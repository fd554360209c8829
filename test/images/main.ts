/**
 * npm run images [-- --keep]
 *
 * Builds both images and runs the demo in them for real: gateway in one container, tasks in others, of the agent's image and
 * of one that knows nothing of rclaude. Where no image can be pulled, the base is made here: Debian from its packages,
 * with this machine's Node and certificates. With --keep the images stay, on an engine of the machine's own.
 */
import { resolve } from 'node:path'
import { type DockerEngine, runDocker, startDockerEngine } from '../helpers/docker-engine.ts'
import { baseImage, DEBIAN } from './base.ts'
import { demonstrate } from './demonstrate.ts'

const IMAGES = { gateway: 'rclaude-gateway', agent: 'rclaude-agent', foreign: 'rclaude-foreign' }

export async function main(argv: string[]): Promise<number> {
  const engine = await startDockerEngine()
  if (typeof engine === 'string') {
    console.log(`no images: ${engine}`)
    return 1
  }
  const run = (...args: string[]) => runDocker(engine, args)
  try {
    const base = baseImage(engine)
    const build = (name: string, ...args: string[]) => {
      const startedAt = Date.now()
      run('build', '-q', '--network', 'host', '-t', name, ...args)
      console.log(
        `${name}: ${sizeOf(engine, name)} MB on a base of ${sizeOf(engine, base)} MB, ${seconds(startedAt)} s`,
      )
    }
    const root = resolve('.')
    const fromBase = ['--build-arg', `BASE_IMAGE=${base}`]
    build(IMAGES.gateway, ...fromBase, '-f', 'Dockerfile.gateway', root)
    build(IMAGES.agent, ...fromBase, '-f', 'Dockerfile.agent', root)
    const foreign = `FROM ${DEBIAN}\nRUN apt-get update && apt-get install -y --no-install-recommends git\n`
    runDocker(engine, ['build', '-q', '--network', 'host', '-t', IMAGES.foreign, '-'], foreign)
    await demonstrate(engine, IMAGES)
    return 0
  } finally {
    if (!argv.includes('--keep')) run('rmi', '-f', ...Object.values(IMAGES))
    await engine.close()
  }
}

const seconds = (since: number): string => ((Date.now() - since) / 1000).toFixed(0)

const sizeOf = (engine: DockerEngine, image: string): string =>
  (Number(runDocker(engine, ['image', 'inspect', '-f', '{{.Size}}', image])) / 1e6).toFixed(0)
