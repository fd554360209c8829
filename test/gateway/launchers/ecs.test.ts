/** What the ECS launcher does when ECS does not do as one would like. The numbers are those of the behaviours in docs/ecs.md. */
import { expect, onTestFinished, test } from 'vitest'
import { checkFargateSize } from '../../../gateway/launchers/ecs/sizes.ts'
import { refusalOf, statusOfTask } from '../../../gateway/launchers/ecs/status.ts'
import type { LaunchSpec } from '../../../gateway/launchers/launcher.ts'
import { machineFor } from '../../../gateway/tasks/machine.ts'
import { newGatewayId } from '../../../protocol/ids.ts'
import type { EcsOptions } from '../../helpers/ecs/server.ts'
import { startEcsSite } from '../../helpers/ecs/site.ts'
import { eventually } from '../../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../../helpers/launching.ts'

const NO_CAPACITY = { reason: 'Capacity is unavailable at this time. Please try again later.' }

async function scene(more: object = {}, options: EcsOptions = {}) {
  const site = await startEcsSite(options)
  const { ecs } = site
  onTestFinished(async () => {
    await ecs.close()
    expect(ecs.problems).toEqual([])
  })
  const gatewayId = newGatewayId()
  const launcher = site.launcher(gatewayId, more)
  const spec = (over: Partial<LaunchSpec> = {}) =>
    launchSpec({ machine: machineFor(launcher, { agent: 'command' }), ...over })
  const asked = (operation: string) => ecs.calls.filter((call) => call.operation === operation)
  return { ecs, another: site.launcher, gatewayId, launcher, spec, asked }
}

test('2: an answer that is lost after the task was made gives that task, not another', async () => {
  const { ecs, launcher, spec } = await scene()
  ecs.faults.next(
    'RunTask',
    { kind: 'reset-after' },
    { kind: 'reset-after' },
    { kind: 'reset-after' },
    { kind: 'reset-after' },
  )
  const { handle } = await launcher.launch(spec(), launchOptions())
  expect(ecs.tasks().map(({ arn }) => arn)).toEqual([handle])
})

test('1, 3: a launch that was cut off is taken up by its note: the same task, found by the list or by the conflict', async () => {
  const { ecs, gatewayId, launcher: first, spec, ...site } = await scene()
  const one = spec()
  const options = launchOptions()
  const placement = await first.launch(one, options)
  const later = () => site.another(gatewayId)
  const kept = JSON.parse(JSON.stringify(options.notes.at(-1)))
  expect((await later().launch(one, launchOptions({ kept }))).handle).toBe(placement.handle)
  // The list does not show it yet, and the request reads differently from what was sent: the conflict names the task.
  const other = { ...kept, request: { ...kept.request, group: 'changed' } }
  ecs.operations.hidesNewTasks = true
  expect((await later().launch(one, launchOptions({ kept: other }))).handle).toBe(placement.handle)
  expect(ecs.tasks()).toHaveLength(1)
})

test('4: a task that is launched anew has another launch id, and so another machine', async () => {
  const { ecs, launcher, spec } = await scene()
  const first = spec()
  await launcher.launch(first, launchOptions())
  await launcher.launch(spec({ taskId: first.taskId }), launchOptions())
  expect(new Set(ecs.tasks().map(({ options }) => options.request.clientToken)).size).toBe(2)
})

test('5: a note that is older than the deadline of launches buys nothing', async () => {
  const { ecs, launcher, spec } = await scene()
  const at = new Date(Date.now() - 21 * 60_000).toISOString()
  const kept = { at, request: { taskDefinition: 'rclaude-x:1' } }
  await expect(launcher.launch(spec(), launchOptions({ kept }))).rejects.toMatchObject({ code: 'unavailable' })
  expect(ecs.tasks()).toEqual([])
})

test.each([
  [{ reason: 'RESOURCE:MEMORY' }, true, 'enough memory left'],
  [{ reason: 'RESOURCE:ENI' }, true, 'network interfaces'],
  [NO_CAPACITY, true, 'no capacity at the moment'],
  [{ reason: 'AGENT' }, true, 'is not connected'],
  [
    { reason: 'ATTRIBUTE', detail: 'ecs.cpu-architecture' },
    false,
    'architecture, network or log driver (ecs.cpu-architecture)',
  ],
  [{ reason: 'LOCATION' }, false, 'availability zone'],
  [{ reason: 'SOMETHING:NEW' }, false, 'ECS refuses: SOMETHING:NEW'],
  [{}, false, 'without a reason'],
])('6, 8: %j of failures[] is final or not, in words', (failure, mayHelp, text) => {
  expect(refusalOf(failure)).toEqual({ mayHelp, text: expect.stringContaining(text) })
})

test('7: a refusal whose task starts all the same is not followed by another', async () => {
  const { ecs, launcher, spec, asked } = await scene()
  ecs.faults.next('RunTask', { kind: 'ghost', failure: NO_CAPACITY, afterMs: 0 })
  const { handle } = await launcher.launch(spec(), launchOptions())
  expect(ecs.tasks().map(({ arn }) => arn)).toEqual([handle])
  expect(asked('RunTask')).toHaveLength(1)
})

test('30: disk beyond what Fargate gives is paid for, on Spot in full', async () => {
  for (const [capacity, rest] of [
    ['fargate', 0.06326],
    ['fargate-spot', 0.023643],
  ] as const) {
    const plain = await scene({ capacity })
    expect((await plain.launcher.launch(plain.spec(), launchOptions())).usdPerHour).toBe(rest)
    const large = await scene({ capacity, ephemeralStorage: '100GiB' })
    expect((await large.launcher.launch(large.spec(), launchOptions())).usdPerHour).toBeCloseTo(rest + 80 * 0.000111, 9)
  }
})

test('9: without capacity the next launch tries the next subnet, then on demand, which is said; then it begins anew', async () => {
  const { ecs, launcher, spec, asked } = await scene({ capacity: 'fargate-spot' })
  const { taskId } = spec()
  ecs.faults.next('RunTask', ...Array.from({ length: 2 }, () => ({ kind: 'failure', failure: NO_CAPACITY }) as const))
  for (let refused = 0; refused < 2; refused++)
    await expect(launcher.launch(spec({ taskId }), launchOptions())).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^Spot in subnet-0[ab]: AWS has no capacity at the moment$/),
    })
  const options = launchOptions()
  const placement = await launcher.launch(spec({ taskId }), options)
  expect(options.said).toEqual(['no Spot capacity: on demand instead, at its full price'])
  expect(placement.usdPerHour).toBe(0.06326)
  const tried = asked('RunTask').map(
    ({ input }) =>
      input as never as {
        capacityProviderStrategy: [{ capacityProvider: string }]
        networkConfiguration: { awsvpcConfiguration: { subnets: [string] } }
      },
  )
  expect(tried.map((one) => one.capacityProviderStrategy[0].capacityProvider)).toEqual([
    'FARGATE_SPOT',
    'FARGATE_SPOT',
    'FARGATE',
  ])
  expect(new Set(tried.map((one) => one.networkConfiguration.awsvpcConfiguration.subnets[0])).size).toBe(2)
})

test('10: throttling is waited out, also where it hides in another error', async () => {
  const { ecs, launcher, spec } = await scene()
  ecs.faults.next('RunTask', { kind: 'throttled-wrapped' }, { kind: 'throttled' }, { kind: 'server-error' })
  await launcher.launch(spec(), launchOptions())
  expect(ecs.tasks()).toHaveLength(1)
})

test('11: stops do not wait for launches', async () => {
  const { launcher, spec, ecs } = await scene({}, { images: {} })
  ecs.faults.next('RunTask', { kind: 'no-capacity', ms: 600_000 })
  const first = await launcher.launch(spec(), launchOptions())
  const all = Array.from({ length: 400 }, () => new AbortController())
  const launches = all.map(({ signal }) => launcher.launch(spec(), launchOptions({ signal })).catch(() => undefined))
  await launcher.stop(first, 'enough')
  expect(ecs.tasks().length).toBeLessThan(400) // at 20 a second they take 19 s
  for (const one of all) one.abort()
  await Promise.all(launches)
})

test('12: what ECS does not show yet is pending, and gone only when neither call knows it any more', async () => {
  const { ecs, launcher, spec } = await scene()
  ecs.faults.next('RunTask', { kind: 'missing', ms: 300 })
  const one = spec()
  const placement = await launcher.launch(one, launchOptions())
  expect((await launcher.inspect([placement])).get(one.launchId)).toMatchObject({ status: 'pending' })
  await eventually(
    'it is seen',
    async () => (await launcher.inspect([placement])).get(one.launchId)?.status === 'running',
  )
  const stranger = {
    ...placement,
    handle: placement.handle.replace(/.{4}$/, '0000'),
    startedAt: new Date(0).toISOString(),
  }
  expect((await launcher.inspect([stranger])).get(one.launchId)).toMatchObject({ status: 'gone' })
})

test('13, 23: placements are asked for a hundred at a time, pages are followed, and none counts twice', async () => {
  const { ecs, launcher, spec, asked } = await scene({}, { images: {} })
  const placements = await Promise.all(Array.from({ length: 8 }, () => launcher.launch(spec(), launchOptions())))
  const many = Array.from({ length: 30 }, () => placements).flat()
  await launcher.inspect(many)
  expect(asked('DescribeTasks').map(({ input }) => (input.tasks as string[]).length)).toEqual([100, 100, 40])
  ecs.operations.duplicatesInPages = true
  ecs.operations.pageSize = 3
  const listed = await launcher.list()
  expect(new Set(listed.map(({ handle }) => handle)).size).toBe(listed.length)
})

test('an agent is vouched for when ECS says that its task runs; however many ask at once, ECS is asked twice', async () => {
  const { ecs, launcher, spec, asked } = await scene()
  ecs.faults.next('RunTask', { kind: 'shown-late', ms: 300 })
  const late = await launcher.launch(spec(), launchOptions())
  expect(await launcher.vouch?.(late, late.handle)).toBe('not_yet')
  await eventually('it is shown', async () => (await launcher.vouch?.(late, late.handle)) === 'yes')
  const other = await launcher.launch(spec(), launchOptions())
  await eventually('it runs', async () => (await launcher.vouch?.(other, other.handle)) === 'yes')
  expect(await launcher.vouch?.(late, other.handle)).toBe('no')
  expect(await launcher.vouch?.(late, undefined)).toBe('no')
  const before = asked('DescribeTasks').length
  const words = await Promise.all(Array.from({ length: 50 }, () => launcher.vouch?.(late, late.handle)))
  expect(new Set(words)).toEqual(new Set(['yes']))
  expect(asked('DescribeTasks').length).toBeLessThanOrEqual(before + 2)
  await launcher.stop(late, 'enough')
  expect(await launcher.vouch?.(late, late.handle)).toBe('no')
})

test('14, 15: what ECS would refuse is refused here, with what there is', async () => {
  const { launcher, spec, asked } = await scene()
  await expect(launcher.launch(spec({ gatewayUrl: `http://${'x'.repeat(9_000)}` }), launchOptions())).rejects.toThrow(
    '8192',
  )
  expect(asked('RunTask')).toEqual([])
  const gib = 1024 ** 3
  expect(() => checkFargateSize({ cpu: 3, memoryBytes: 8 * gib })).toThrow('take 0.25, 0.5, 1, 2, 4, 8, 16')
  expect(() => checkFargateSize({ cpu: 1, memoryBytes: 16 * gib })).toThrow('take 2 to 8 GiB in steps of 1')
  expect(() => checkFargateSize({ cpu: 8, memoryBytes: 20 * gib })).not.toThrow()
})

test('16: however many launches want an image at once, it is registered once', async () => {
  const { ecs, launcher, spec, asked } = await scene()
  await Promise.all(Array.from({ length: 10 }, () => launcher.launch(spec(), launchOptions())))
  expect(asked('RegisterTaskDefinition')).toHaveLength(1)
  expect(new Set(ecs.tasks().map(({ options }) => options.request.taskDefinition)).size).toBe(1)
})

test('19: a launch that is given up while ECS answers is in the list, and can be stopped', async () => {
  const { ecs, launcher, spec } = await scene()
  ecs.faults.next('RunTask', { kind: 'slow', ms: 200 })
  const giveUp = new AbortController()
  const one = spec()
  const launching = launcher.launch(one, launchOptions({ signal: giveUp.signal }))
  await eventually('it is asked for', () => ecs.calls.some(({ operation }) => operation === 'RunTask'))
  giveUp.abort()
  await expect(launching).rejects.toThrow()
  const [placement] = await eventually('it is listed', async () => {
    const listed = await launcher.list()
    return listed.length > 0 && listed
  })
  expect(placement).toMatchObject({ launchId: one.launchId, taskId: one.taskId })
  if (placement) await launcher.stop(placement, 'nobody waits for it')
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
})

test('20, 21: a stop that ECS refuses is tried again until the task is stopped; "not found" is believed only after a while', async () => {
  const { ecs, launcher, spec } = await scene()
  ecs.faults.next('RunTask', { kind: 'missing', ms: 400 })
  ecs.faults.next('StopTask', { kind: 'server-error' }, { kind: 'throttled' })
  const placement = await launcher.launch(spec(), launchOptions())
  await launcher.stop(placement, 'enough')
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
  const never = {
    ...placement,
    handle: placement.handle.replace(/.{4}$/, '0000'),
    startedAt: new Date(0).toISOString(),
  }
  await launcher.stop(never, 'it never was')
})

test('24, 25: Spot that takes a machine away is told from other ends, with reason and exit code', async () => {
  const { ecs, launcher, spec } = await scene()
  const one = spec({ gatewayUrl: 'http://127.0.0.1:9' })
  const placement = await launcher.launch(one, launchOptions())
  await eventually('it runs', async () => (await launcher.inspect([placement])).get(one.launchId)?.status === 'running')
  ecs.interruptSpot(placement.handle)
  const seen = await eventually('it is over', async () => {
    const status = (await launcher.inspect([placement])).get(one.launchId)
    return status?.status === 'stopped' && status
  })
  expect(seen).toMatchObject({ reason: 'infrastructure', detail: 'Your Spot Task was interrupted.' })
})

test('25, 29: a task without exit code, and states and codes that nobody knows, do no harm', () => {
  expect(
    statusOfTask({
      lastStatus: 'STOPPED',
      stopCode: 'TaskFailedToStart',
      stoppedReason: 'CannotPullContainerError: no',
    }),
  ).toEqual({
    status: 'stopped',
    reason: 'placement_gone',
    detail: 'CannotPullContainerError: no',
  })
  expect(statusOfTask({ lastStatus: 'HIBERNATING' }).status).toBe('running')
  expect(statusOfTask({ lastStatus: 'STOPPED', stopCode: 'NewCode' as never })).toMatchObject({
    detail: 'ECS says NewCode',
  })
  expect(statusOfTask({ lastStatus: 'STOPPED', stoppedReason: 'Spot instance interruption' })).toMatchObject({
    reason: 'infrastructure',
  })
  expect(statusOfTask({ lastStatus: 'STOPPED', stopCode: 'TerminationNotice' })).toMatchObject({
    reason: 'infrastructure',
  })
})

test('28: a right that is missing is named at once, and so are a wrong cluster and missing credentials', async () => {
  const { ecs, launcher, spec, asked } = await scene()
  ecs.faults.denied.add('RunTask')
  await expect(launcher.launch(spec(), launchOptions())).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringMatching(/does not let the gateway do ecs:RunTask: add it to the policy/),
  })
  expect(asked('RunTask')).toHaveLength(1)
  const elsewhere = await scene({ cluster: 'other' })
  await expect(elsewhere.launcher.launch(elsewhere.spec(), launchOptions())).rejects.toThrow(
    'there is no cluster other in eu-central-1 (launchers.ecs.cluster)',
  )
})
