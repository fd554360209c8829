/** The process launcher against the promises of every launcher. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createProcessLauncher } from '../../gateway/launchers/process.ts'
import { findByEnvironment } from '../../host/processes.ts'
import { AGENT_ENV } from '../../protocol/run.ts'
import { launcherConformance } from './launcher.ts'

launcherConformance('process', async () => {
  const root = mkdtempSync(join(tmpdir(), 'rclaude-conformance-'))
  const folders: string[] = []
  return {
    listen: '127.0.0.1',
    reach: '127.0.0.1',
    launcher(gatewayId) {
      const directory = join(root, gatewayId)
      mkdirSync(directory, { recursive: true })
      folders.push(directory)
      return createProcessLauncher({
        directory,
        agentArgv: [process.execPath, resolve('dist/agent.js')],
        env: { PATH: process.env.PATH },
      })
    },
    async remains({ launchId, taskId }) {
      const pids = await findByEnvironment(AGENT_ENV.launchId, launchId)
      const left = folders.map((folder) => join(folder, taskId)).filter((folder) => existsSync(folder))
      return [...pids.map((pid) => `process ${pid}`), ...left]
    },
    async kill({ handle }) {
      process.kill(Number(handle), 'SIGKILL')
    },
    async close() {
      rmSync(root, { recursive: true, force: true, maxRetries: 5 })
    },
  }
})
