/** What whoever starts a gateway has open is nothing to the work of its tasks. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, World } from '../helpers/world.ts'

test.runIf(process.platform === 'linux')(
  'files that the gateway was started with reach no process of a task, on a terminal or not',
  async () => {
    const world = new World()
    const secret = join(world.directory, 'open-elsewhere')
    writeFileSync(secret, 'not for the task')
    // bash: other shells open no files beyond 9.
    world.gatewayArgv = ['-e', STARTER, secret, join(world.dist, 'gateway.js'), '--local', '--data', world.data]
    await startWorld({ world })
    stopTasksAfterwards(world)
    const task = await world.createTask({ agent: 'command', command: ['sleep', '1000'], workspace: { kind: 'none' } })
    await world.state(task.id, 'running')
    for (const options of [[], ['-t']]) {
      const open = await world.cli(['exec', ...options, task.id, '--', 'sh', '-c', 'ls -l /proc/self/fd'], {
        env: world.asAdmin,
      })
      expect(open.code).toBe(0)
      expect(open.stdout).toContain('/proc/')
      expect(open.stdout).not.toContain('open-elsewhere')
    }
  },
)

/** Node passes files on from 0 upwards, so a shell opens the ones far up. */
const STARTER = `
  const [secret, ...argv] = process.argv.slice(1)
  const { spawn } = require('node:child_process')
  const child = spawn('bash', ['-c', 'exec 9<"$0" 300<"$0"; exec "$@"', secret, process.execPath, ...argv], { stdio: 'inherit' })
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('exit', (code) => process.exit(code ?? 1))
`
