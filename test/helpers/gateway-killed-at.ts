/** The gateway, with one thing more: it kills itself without a word (SIGKILL) before the step of a task's end in KILL_AT. */
import { resolve } from 'node:path'
import { loadConfig } from '../../gateway/config.ts'
import { createLogger } from '../../gateway/log.ts'
import { startGateway } from '../../gateway/server.ts'

await startGateway({
  config: loadConfig(undefined, { RCLAUDE_LISTEN__PORT: '0', ...process.env }),
  dataDirectory: process.argv[2] ?? '',
  version: 'test',
  log: createLogger('info'),
  agentArgv: [process.execPath, resolve('dist/agent.js')],
  env: process.env,
  onFinishStep: (step) => {
    if (step === process.env.KILL_AT) process.kill(process.pid, 'SIGKILL')
  },
})
