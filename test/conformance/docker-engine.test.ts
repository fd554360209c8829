/** The docker launcher with tasks that have a Docker engine of their own, against the same promises. */
import { createDockerLauncher } from '../../gateway/launchers/docker/docker.ts'
import { DockerSection } from '../../protocol/launcher-config.ts'
import { runDocker, startDockerEngine } from '../helpers/docker-engine.ts'
import { importImages } from '../helpers/docker-images.ts'
import { importTaskEngine } from '../helpers/task-engine-image.ts'
import { launcherConformance } from './launcher.ts'

/** @param kind `host`: engine and task apart; `bridge`: on one network, of the test's own */
function conformance(kind: 'host' | 'bridge'): void {
  const makeSite = async () => {
    const engine = await startDockerEngine()
    if (typeof engine === 'string') return engine
    const tag = `conformance-${kind}-${process.pid}`
    const docker = (...args: string[]) => runDocker(engine, args)
    const images = importImages(engine, tag)
    const taskEngine = importTaskEngine(engine, tag)
    if (kind === 'bridge') docker('network', 'create', tag)
    const address =
      kind === 'host' ? '127.0.0.1' : docker('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', tag)
    const section = DockerSection.parse({
      host: engine.host,
      image: images.agent,
      network: kind === 'host' ? 'host' : tag,
      pull: 'never',
      cpu: 1,
      memory: '512MiB',
      taskEngine: taskEngine.settings,
    })
    const volumes = docker('volume', 'ls', '-q')
    return {
      listen: address,
      reach: address,
      launcher: (gatewayId: string) => createDockerLauncher({ section, gatewayId, env: {} }),
      async remains({ launchId }: { launchId: string }) {
        return docker('ps', '-a', '-q', '--filter', `label=rclaude.launch=${launchId}`).split('\n').filter(Boolean)
      },
      async kill({ handle }: { handle: string }) {
        docker('kill', handle)
      },
      async close() {
        const left = docker('volume', 'ls', '-q')
        if (kind === 'bridge') docker('network', 'rm', tag)
        images.remove()
        taskEngine.remove()
        await engine.close()
        if (left !== volumes) throw new Error(`volumes were left: ${left}`)
      },
    }
  }
  launcherConformance('docker', makeSite, {
    machine: { docker: true },
    how: `with an engine for each task, network ${kind}`,
  })
}

conformance('host')
conformance('bridge')
