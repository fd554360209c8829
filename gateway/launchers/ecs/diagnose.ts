/**
 * Whether this launcher can do its work, by the calls that it will make, each of which AWS may refuse by itself. Nothing is
 * launched: whether subnets, security groups and images are right, RunTask alone can tell, and does with the first task.
 */
import type { Cluster } from '@aws-sdk/client-ecs'
import { bad, type Finding, ok } from '../../../protocol/finding.ts'
import type { EcsSection } from '../../../protocol/launcher-config.ts'
import { type EcsApi, refusalKind } from './api.ts'
import type { Definitions } from './definitions.ts'
import type { Tasks } from './tasks.ts'

export interface Diagnosed {
  api: EcsApi
  section: EcsSection
  definitions: Definitions
  tasks: Tasks
  /** `startedBy` of this gateway's. */
  mine: string
}

/** Of the first call: what cannot be reached would be tried again for a minute. */
const FIRST_ANSWER_MS = 15_000
const GIVE_CREDENTIALS = 'give the machine a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID for the gateway'
const REACH = 'see whether the gateway reaches ECS in this region: proxy, firewall, launchers.ecs.endpoint'
const POLICY = 'attach the policies of deploy/aws/gateway-policy.yaml to the role or user of the gateway'
/** Of no task: ECS answers that it does not know it, to whoever may ask. */
const NOBODY = '0'.repeat(32)

export async function diagnose({ api, section, definitions, tasks, mine }: Diagnosed): Promise<Finding[]> {
  const { cluster: name, region } = section
  const findings: Finding[] = []
  let cluster: Cluster | undefined
  const looked = await attempt('ecs:DescribeClusters', async () => {
    const { clusters = [] } = await api.call(
      'read',
      'DescribeClusters',
      (ecs, options) => ecs.describeClusters({ clusters: [name] }, options),
      AbortSignal.timeout(FIRST_ANSWER_MS),
    )
    cluster = clusters[0]
    return 'allowed'
  })
  if (isAboutAll(looked)) return [{ ...looked, name: 'credentials' }] // nothing else can be asked
  findings.push(ok('credentials', `AWS takes the gateway's, in ${region}`), looked)
  if (looked.ok) findings.push(clusterFinding(section, cluster))
  if (cluster !== undefined) findings.push(capacityFinding(section, cluster))
  if (looked.ok && cluster === undefined) return findings // every call would say the same
  findings.push(
    await attempt('ecs:ListTasks', async () => {
      const own = await tasks.alive(mine)
      return `allowed; ${own.length} of this gateway in ${name}`
    }),
    await attempt('ecs:DescribeTasks', async () => {
      await tasks.describe([NOBODY])
      return 'allowed'
    }),
    await attempt('ecs:StopTask', async () => {
      await tasks.askToStop(NOBODY, 'rclaude ecs doctor')
      return 'allowed'
    }),
  )
  for (const image of new Set([section.image, ...Object.values(section.images)]))
    findings.push(
      await attempt('ecs:RegisterTaskDefinition, iam:PassRole', async () => {
        return `allowed; ${image} is ${(await definitions.tryOut(image)) ?? 'registered when it is first launched'}`
      }),
    )
  return findings
}

async function attempt(name: string, work: () => Promise<string>): Promise<Finding> {
  try {
    return ok(name, await work())
  } catch (error) {
    return bad(name, (error as Error).message, fixOf(error as Error))
  }
}

const isAboutAll = ({ fix }: Finding): boolean => fix === GIVE_CREDENTIALS || fix === REACH

function fixOf(error: Error): string {
  if (error.name === 'TimeoutError') return REACH
  switch (refusalKind(error)) {
    case 'bad_credentials':
    case 'no_credentials':
      return GIVE_CREDENTIALS
    case 'denied':
      return POLICY
    case 'no_cluster':
      return 'correct launchers.ecs.cluster and .region, or make the cluster'
    default:
      return 'see what AWS says; rclaude ecs doctor tells whether it is mended'
  }
}

function clusterFinding({ cluster: name, region }: EcsSection, cluster: Cluster | undefined): Finding {
  if (cluster === undefined)
    return bad(
      'cluster',
      `there is no ${name} in ${region}`,
      'correct launchers.ecs.cluster and .region, or make it with deploy/aws/tasks.yaml',
    )
  const { status = 'unknown', runningTasksCount = 0, pendingTasksCount = 0 } = cluster
  if (status !== 'ACTIVE') return bad('cluster', `${name} is ${status}`, 'make it anew, or name another one')
  return ok('cluster', `${name} is active, with ${runningTasksCount} tasks that run and ${pendingTasksCount} that wait`)
}

function capacityFinding(section: EcsSection, cluster: Cluster): Finding {
  const { needed, useful } = providersOf(section)
  const has = cluster.capacityProviders ?? []
  const lacks = (wanted: readonly string[]) => wanted.filter((one) => !has.includes(one))
  const missing = lacks(needed)
  if (missing.length > 0)
    return bad(
      'capacity',
      `the cluster has no capacity provider ${missing.join(', ')}; it has ${has.join(', ') || 'none'}`,
      `aws ecs put-cluster-capacity-providers (it replaces the list), or make the cluster with deploy/aws/tasks.yaml`,
    )
  const wanting = lacks(useful)
  const without = wanting.length > 0 ? `; tasks with --spot have none (${wanting.join(', ')})` : ''
  return ok('capacity', `${[...needed, ...useful].filter((one) => has.includes(one)).join(', ')}${without}`)
}

/** Capacity providers without which no task runs, and those that some tasks ask for. */
function providersOf({ capacity, capacityProviders, onDemandFallback }: EcsSection) {
  if (capacity === 'ec2') return { needed: capacityProviders, useful: [] }
  if (capacity === 'fargate') return { needed: ['FARGATE'], useful: ['FARGATE_SPOT'] }
  return { needed: onDemandFallback ? ['FARGATE', 'FARGATE_SPOT'] : ['FARGATE_SPOT'], useful: [] }
}
