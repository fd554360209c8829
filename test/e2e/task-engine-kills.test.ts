/** A gateway that is killed at each step of a launch of two containers: one launch comes of it, and nothing is left. */
import { expect } from 'vitest'
import { eventually } from '../helpers/eventually.ts'
import { LOAD, RUN, withTaskEngines } from '../helpers/task-engine-site.ts'

const { withEngine } = withTaskEngines()

const STEPS = [
  [/^POST .*create\?name=rclaude-[^-&]*(&|$)/, 'the container of the task is made'],
  [/^POST .*create\?name=rclaude-[^-&]*-docker(&|$)/, 'the one of its engine is made'],
  [/^POST .*rclaude-[^-]*\/start$/, 'the task is started'],
  [/^POST .*rclaude-.*-docker\/start$/, 'its engine is started'],
] as const

for (const [line, what] of STEPS)
  for (const when of ['before', 'after'] as const)
    withEngine(
      `a gateway that is killed ${when} ${what} launches nothing twice and leaves nothing`,
      async ({ watched, world, docker, rclaude, volumes }) => {
        let kill = true
        watched.onRequest = async (asked, now) => {
          expect(decodeURIComponent(asked)).not.toContain('JOIN_CODE') // a URL is in logs
          if (!kill || now !== when || !line.test(asked)) return
          kill = false
          await world.killGateway('SIGKILL')
        }
        const script = `${LOAD} && ${RUN} tiny /bin/id -u`
        const task = await world.createTask({
          agent: 'command',
          command: ['sh', '-c', script],
          workspace: { kind: 'none' },
          machine: { docker: true },
        })
        await eventually('the gateway is killed', () => !kill)
        await world.gatewayGone()
        await world.startGateway()
        expect(await world.ended(task.id)).toMatchObject({ outcome: 'succeeded' })
        const { stdout } = await rclaude('logs', task.id)
        expect(stdout.match(/^0$/gm)).toHaveLength(1)
        expect(docker('ps', '-a', '-q', '--filter', 'label=rclaude.gateway')).toBe('')
        expect(docker('volume', 'ls', '-q')).toBe(volumes)
      },
    )
