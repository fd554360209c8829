/** The docker launcher against the promises of every launcher, on a real engine. */
import { createDockerLauncher } from '../../gateway/launchers/docker/docker.ts'
import { DockerSection } from '../../protocol/launcher-config.ts'
import { runDocker, startDockerEngine } from '../helpers/docker-engine.ts'
import { importImages } from '../helpers/docker-images.ts'
import { launcherConformance } from './launcher.ts'

launcherConformance('docker', async () => {
  const engine = await startDockerEngine()
  if (typeof engine === 'string') return engine
  const images = importImages(engine, `conformance-${process.pid}`)
  const section = DockerSection.parse({
    host: engine.host,
    image: images.agent,
    network: 'host',
    pull: 'never',
    cpu: 1,
    memory: '512MiB',
  })
  return {
    listen: '127.0.0.1',
    reach: '127.0.0.1',
    launcher: (gatewayId) => createDockerLauncher({ section, gatewayId, env: {} }),
    async remains({ launchId }) {
      const found = runDocker(engine, ['ps', '-a', '-q', '--filter', `label=rclaude.launch=${launchId}`])
      return found.split('\n').filter(Boolean)
    },
    async kill({ handle }) {
      runDocker(engine, ['kill', handle])
    },
    async close() {
      images.remove()
      await engine.close()
    },
  }
})
