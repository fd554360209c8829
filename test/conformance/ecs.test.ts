/** The ECS launcher against the promises of every launcher, at the ECS of the tests. */
import { expect } from 'vitest'
import { startEcsSite } from '../helpers/ecs/site.ts'
import { launcherConformance } from './launcher.ts'

launcherConformance('ecs', async () => {
  const { ecs, launcher } = await startEcsSite()
  return {
    listen: '127.0.0.1',
    reach: '127.0.0.1',
    launcher: (gatewayId) => launcher(gatewayId),
    remains: async ({ launchId }) =>
      ecs
        .tasks()
        .filter(({ status, options }) => status !== 'STOPPED' && JSON.stringify(options.request).includes(launchId))
        .map(({ arn, status }) => `${arn} is ${status}`),
    async kill({ handle }) {
      const pid = ecs.tasks().find(({ arn }) => arn === handle)?.pid
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
    },
    async close() {
      expect(ecs.problems).toEqual([])
      await ecs.close()
    },
  }
})
