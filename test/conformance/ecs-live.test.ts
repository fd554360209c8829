/**
 * The ECS launcher against AWS itself, for who has an account: it costs some cents and half an hour. Without RCLAUDE_LIVE_AWS=1 nothing
 * is asked of anybody. Configured as a gateway is, from the environment or a file; docs/ecs.md has the command.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { ECS, type Task } from '@aws-sdk/client-ecs'
import { expect, test } from 'vitest'
import { loadConfig } from '../../gateway/config.ts'
import { createEcsLauncher } from '../../gateway/launchers/ecs/ecs.ts'
import { machineFor } from '../../gateway/tasks/machine.ts'
import { chunksOf } from '../../host/chunks.ts'
import { newGatewayId } from '../../protocol/ids.ts'
import type { EcsSection } from '../../protocol/launcher-config.ts'
import { eventually } from '../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../helpers/launching.ts'
import { launcherConformance } from './launcher.ts'

/** A cold Fargate task takes a minute or two to run, and as long to be gone. */
const PATIENCE_MS = 600_000
const HOW = 'set RCLAUDE_LIVE_AWS=1, RCLAUDE_AGENT_URL and RCLAUDE_LAUNCHERS__ECS__... (docs/ecs.md)'

interface Live {
  section: EcsSection
  /** Host by which tasks reach this machine, on any port. */
  reach: string
  ecs: ECS
}

/** A string says why AWS is not asked. @throws for a configuration that is not whole */
function live(): Live | string {
  const { RCLAUDE_LIVE_AWS, RCLAUDE_LIVE_CONFIG, ...env } = process.env
  if (RCLAUDE_LIVE_AWS !== '1') return `AWS is not asked: ${HOW}`
  const { agentUrl, launchers } = loadConfig(RCLAUDE_LIVE_CONFIG, env)
  if (agentUrl === undefined || launchers.ecs === undefined) throw new Error(`not enough is said of AWS: ${HOW}`)
  const { region, endpoint } = launchers.ecs
  const ecs = new ECS({ region, ...(endpoint && { endpoint }) })
  return { section: launchers.ecs, reach: new URL(agentUrl).hostname, ecs }
}

const site = live()

/** Of the whole cluster, asked without the launcher: those that run, and those that are on their way out. */
async function aliveTasks({ ecs, section: { cluster } }: Live): Promise<Task[]> {
  const found: Task[] = []
  for (const desiredStatus of ['RUNNING', 'STOPPED'] as const) {
    let nextToken: string | undefined
    do {
      const page = await ecs.listTasks({ cluster, desiredStatus, ...(nextToken && { nextToken }) })
      for (const tasks of chunksOf(page.taskArns ?? [], 100))
        found.push(...((await ecs.describeTasks({ cluster, tasks })).tasks ?? []))
      nextToken = page.nextToken
    } while (nextToken !== undefined)
  }
  return found.filter(({ lastStatus }) => lastStatus !== 'STOPPED')
}

launcherConformance(
  'ecs',
  async () => {
    if (typeof site === 'string') return site
    return {
      listen: '0.0.0.0',
      reach: site.reach,
      launcher: (gatewayId) => createEcsLauncher({ section: site.section, gatewayId }),
      remains: async ({ launchId }) =>
        (await aliveTasks(site))
          .filter(({ overrides }) => JSON.stringify(overrides).includes(launchId))
          .map(({ taskArn, lastStatus }) => `${taskArn} is ${lastStatus}`),
      async kill({ handle }) {
        await site.ecs.stopTask({ cluster: site.section.cluster, task: handle, reason: 'killed by the tests' })
      },
    }
  },
  { patienceMs: PATIENCE_MS },
)

/** A launch of its own, ended whatever happens. */
async function launched(where: Live, more: object = {}) {
  const launcher = createEcsLauncher({ section: { ...where.section, ...more }, gatewayId: newGatewayId() })
  const spec = launchSpec({
    machine: machineFor(launcher, { agent: 'command' }),
    gatewayUrl: `http://${where.reach}:9`,
  })
  const options = launchOptions()
  const placement = await launcher.launch(spec, options)
  const stop = () => launcher.stop(placement, 'the test has ended')
  const status = async () => (await launcher.inspect([placement])).get(spec.launchId)
  return { launcher, spec, placement, note: options.notes.at(-1), stop, status }
}

/** What only AWS can answer, asked where the ECS of the tests is asked it by test/gateway/launchers/ecs.test.ts. */
const liveTest = (what: string, work: (where: Live) => Promise<void>) =>
  test(what, { timeout: 2 * PATIENCE_MS }, async (context) => {
    if (typeof site === 'string') return context.skip(site)
    await work(site)
  })

liveTest(
  '2, 3: the same request sent again gives the same task; a changed one is a conflict that names it',
  async (where) => {
    const { note, placement, stop } = await launched(where)
    const { request } = note as { request: Parameters<ECS['runTask']>[0] }
    try {
      expect((await where.ecs.runTask(request)).tasks?.map(({ taskArn }) => taskArn)).toEqual([placement.handle])
      await expect(where.ecs.runTask({ ...request, group: 'changed' })).rejects.toMatchObject({
        name: 'ConflictException',
        resourceIds: [placement.handle],
      })
    } finally {
      await stop()
    }
  },
)

liveTest('12: a task is pending or running from the answer of RunTask on, and never gone', async (where) => {
  const { stop, status } = await launched(where)
  try {
    for (let look = 0; look < 20; look++) {
      expect((await status())?.status).toMatch(/^(pending|running)$/)
      await pause(500) // the point is that time passes
    }
  } finally {
    await stop()
  }
})

liveTest('25: an image that is nowhere ends the task, with words', async (where) => {
  const { stop, status } = await launched(where, { image: 'public.ecr.aws/rclaude-nowhere/nothing:0', images: {} })
  try {
    const seen = await eventually(
      'it has stopped',
      async () => {
        const now = await status()
        return now?.status === 'stopped' && now
      },
      PATIENCE_MS,
    )
    expect(seen.detail).toMatch(/CannotPull/)
  } finally {
    await stop()
  }
})

liveTest('28: a cluster that is not there is named', async (where) => {
  await expect(launched(where, { cluster: 'rclaude-nowhere' })).rejects.toThrow('there is no cluster rclaude-nowhere')
})

liveTest('30: what was paid for is known once a task has stopped', async (where) => {
  const { stop, status, placement } = await launched(where)
  await eventually('it runs', async () => (await status())?.status === 'running', PATIENCE_MS)
  await stop()
  const seen = await status()
  expect(seen).toMatchObject({ status: 'stopped', paidSeconds: expect.any(Number) })
  const { paidSeconds = 0 } = seen as { paidSeconds?: number }
  expect(paidSeconds).toBeGreaterThan(0)
  expect(paidSeconds).toBeLessThan((Date.now() - Date.parse(placement.startedAt)) / 1_000)
})
