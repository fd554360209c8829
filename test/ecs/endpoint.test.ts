/** The ECS of the tests itself, asked by the real SDK: what it promises is what the launcher's tests stand on. */

import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import {
  DescribeTasksCommand,
  ECSClient,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  type RunTaskCommandInput,
  StopTaskCommand,
} from '@aws-sdk/client-ecs'
import { expect, onTestFinished, test } from 'vitest'
import { startEcs } from '../helpers/ecs/server.ts'
import { eventually } from '../helpers/eventually.ts'

async function started() {
  const ecs = await startEcs({
    images: {
      sleeper: ({ env }) => ({ argv: ['/bin/sleep', env.SECONDS_TO_SLEEP ?? '600'], env }),
      stubborn: ({ env }) => ({ argv: ['/bin/sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'], env }),
    },
  })
  onTestFinished(() => ecs.close())
  const client = new ECSClient({ endpoint: ecs.url, region: 'eu-central-1', credentials: ecs.credentials })
  onTestFinished(() => client.destroy())
  for (const image of ['sleeper', 'stubborn', 'nowhere'])
    await client.send(
      new RegisterTaskDefinitionCommand({
        family: image,
        networkMode: 'awsvpc',
        requiresCompatibilities: ['FARGATE'],
        cpu: '256',
        memory: '512',
        containerDefinitions: [{ name: 'agent', image, essential: true, stopTimeout: 5 }],
      }),
    )
  const run = (more: Partial<RunTaskCommandInput> = {}) =>
    client.send(
      new RunTaskCommand({
        cluster: 'rclaude',
        taskDefinition: 'sleeper',
        launchType: 'FARGATE',
        networkConfiguration: { awsvpcConfiguration: { subnets: ['subnet-1'] } },
        ...more,
      }),
    )
  const describe = async (task = '') =>
    (await client.send(new DescribeTasksCommand({ cluster: 'rclaude', tasks: [task] }))).tasks?.[0]
  return { ecs, client, run, describe }
}

test('a task goes from PROVISIONING to RUNNING to STOPPED, with a real process that is gone then, and is billed for', async () => {
  const { ecs, client, run, describe } = await started()
  const { tasks: [task] = [] } = await run({ startedBy: 'rclaude/gw_1', tags: [{ key: 'a', value: 'b' }] })
  expect(task).toMatchObject({ lastStatus: 'PROVISIONING', desiredStatus: 'RUNNING', startedBy: 'rclaude/gw_1' })
  await eventually('it runs', async () => (await describe(task?.taskArn))?.lastStatus === 'RUNNING')
  const [inside] = ecs.tasks()
  process.kill(inside?.pid ?? 0, 0) // it is there
  await client.send(new StopTaskCommand({ cluster: 'rclaude', task: task?.taskArn, reason: 'enough' }))
  await eventually('it is stopped', async () => (await describe(task?.taskArn))?.lastStatus === 'STOPPED')
  expect(await describe(task?.taskArn)).toMatchObject({ stopCode: 'UserInitiated', stoppedReason: 'enough', tags: [] })
  expect(() => process.kill(inside?.pid ?? 0, 0)).toThrow('ESRCH')
  expect(inside?.billedMs).toBeGreaterThan(0)
  expect(ecs.problems).toEqual([])
})

test('SIGTERM that is not heeded is followed by SIGKILL; an image that is nowhere fails to start', async () => {
  const { run, describe, client } = await started()
  const { tasks: [stubborn] = [] } = await run({ taskDefinition: 'stubborn' })
  await eventually('it runs', async () => (await describe(stubborn?.taskArn))?.lastStatus === 'RUNNING')
  await client.send(new StopTaskCommand({ cluster: 'rclaude', task: stubborn?.taskArn }))
  await eventually('it is stopped', async () => (await describe(stubborn?.taskArn))?.lastStatus === 'STOPPED')
  const { tasks: [lost] = [] } = await run({ taskDefinition: 'nowhere' })
  await eventually('it has failed', async () => (await describe(lost?.taskArn))?.stopCode === 'TaskFailedToStart')
})

test('the same token gives the same task; with another request it is a conflict that names the task', async () => {
  const { run } = await started()
  const first = await run({ clientToken: 'one' })
  const again = await run({ clientToken: 'one' })
  expect(again.tasks?.[0]?.taskArn).toBe(first.tasks?.[0]?.taskArn)
  await expect(run({ clientToken: 'one', startedBy: 'other' })).rejects.toMatchObject({
    name: 'ConflictException',
    resourceIds: [first.tasks?.[0]?.taskArn],
  })
})

test.each([
  ['both kinds of capacity', { capacityProviderStrategy: [{ capacityProvider: 'FARGATE_SPOT' }] }, /not both/],
  ['a size that Fargate has not', { overrides: { cpu: '256', memory: '8192' } }, /No Fargate configuration/],
  [
    'too long overrides',
    { overrides: { containerOverrides: [{ name: 'agent', command: ['x'.repeat(9_000)] }] } },
    /8192/,
  ],
  ['a container that is not there', { overrides: { containerOverrides: [{ name: 'other' }] } }, /not a container/],
  ['a startedBy with a colon', { startedBy: 'a:b' }, /startedBy/],
  ['no network', { networkConfiguration: undefined }, /Network Configuration/],
  ['another cluster', { cluster: 'other' }, /Cluster not found/],
])('refuses %s', async (_, more, message) => {
  const { run } = await started()
  await expect(run(more)).rejects.toThrow(message)
})

test('listings have pages, and take startedBy alone', async () => {
  const { client, run } = await started()
  for (let count = 0; count < 3; count++) await run({ startedBy: 'rclaude/gw_1' })
  await run({ startedBy: 'rclaude/gw_2' })
  const list = (more: object) =>
    client.send(new ListTasksCommand({ cluster: 'rclaude', startedBy: 'rclaude/gw_1', ...more }))
  const first = await list({ maxResults: 2 })
  expect(first.taskArns).toHaveLength(2)
  const rest = await list({ maxResults: 2, nextToken: first.nextToken })
  expect([rest.taskArns?.length, rest.nextToken]).toEqual([1, undefined])
  await expect(list({ family: 'sleeper' })).rejects.toThrow('only filter')
})

test('faults come in their order: refused, reset after the effect, a ghost', async () => {
  const { ecs, run } = await started()
  ecs.faults.next('RunTask', { kind: 'denied' })
  await expect(run()).rejects.toMatchObject({ name: 'AccessDeniedException' })
  ecs.faults.next('RunTask', { kind: 'reset-after' })
  await run({ clientToken: 'kept' }) // the SDK sends it again, with its token
  expect(ecs.tasks()).toHaveLength(1)
  ecs.faults.next('RunTask', { kind: 'ghost', failure: { reason: 'RESOURCE:MEMORY' }, afterMs: 50 })
  expect((await run()).failures).toEqual([{ reason: 'RESOURCE:MEMORY' }])
  await eventually('the ghost is there', () => ecs.tasks().length === 2)
})

const hasBotocore = spawnSync('python3', ['-c', 'import botocore']).status === 0
if (!hasBotocore)
  console.warn('the ECS of the tests: not asked by botocore, which is not there (apt install python3-botocore)')

test.runIf(hasBotocore)('botocore, which reads the same API from another model, gets what it expects', async () => {
  const { ecs } = await started()
  const { stdout } = await promisify(execFile)('python3', ['test/helpers/ecs/other-client.py', ecs.url, 'sleeper'])
  expect(JSON.parse(stdout)).toEqual({
    same: true,
    running: 'RUNNING',
    createdYear: new Date().getUTCFullYear(),
    stopped: ['STOPPED', 'UserInitiated', 'enough'],
    refused: expect.stringContaining('ClusterNotFoundException'),
  })
  expect(ecs.problems).toEqual([])
})
