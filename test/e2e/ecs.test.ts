/** The built gateway and CLI with the ECS launcher, at the ECS of the tests: credentials and SDK as a user has them. */
import { expect, test } from 'vitest'
import { ecsWorld } from '../helpers/ecs/world.ts'
import { makeRepository } from '../helpers/repository.ts'

test('a task runs on ECS from the command line, with its size and its price, and nothing is left of it', async () => {
  const { ecs, world } = await ecsWorld()
  const args = ['run', '--cpu', '0.5', '--memory', '2GiB', '--', 'sh', '-c', 'echo made in a container']
  const done = await world.cli(args, { env: world.asAdmin, cwd: await makeRepository(world) })
  expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('made in a container') })
  const [task] = ecs.tasks()
  expect(task).toMatchObject({ status: 'STOPPED', options: { request: { overrides: { cpu: '512', memory: '2048' } } } })
  const shown = await world.cli(['show', '@last', '--json'], { env: world.asAdmin })
  expect(JSON.parse(shown.stdout)).toMatchObject({ spec: { launcher: 'ecs' }, machineCost: expect.anything() })
  expect(ecs.problems).toEqual([])
  // What may be read by whoever may describe tasks holds nothing that opens anything twice.
  expect(JSON.stringify(ecs.calls)).not.toContain(world.adminToken)
})

test('a size that Fargate has not, and a right that is missing, are said in a sentence', async () => {
  const { ecs, world } = await ecsWorld()
  const cwd = await makeRepository(world)
  const run = (...options: string[]) => world.cli(['run', ...options, '--', 'true'], { env: world.asAdmin, cwd })
  const odd = await run('--cpu', '3')
  expect(odd.stderr).toContain('Fargate has no machine of 3 vCPU: take 0.25, 0.5, 1, 2, 4, 8, 16')
  ecs.faults.denied.add('RunTask')
  const denied = await run()
  expect(denied.code).not.toBe(0)
  expect(denied.stdout + denied.stderr).toContain('AWS does not let the gateway do ecs:RunTask')
  expect(ecs.tasks()).toEqual([])
})

test('a gateway that is killed while a task runs on ECS finds it again, and stops it when that is asked', async () => {
  const { ecs, world } = await ecsWorld()
  const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  await world.state(task.id, 'running')
  await world.killGateway()
  await world.startGateway()
  const stopped = await world.cli(['stop', task.id], { env: world.asAdmin })
  expect(stopped.code).toBe(0)
  expect(await world.ended(task.id)).toMatchObject({ outcome: 'cancelled' })
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
})

test.each(['before', 'after'] as const)(
  '1: a gateway that is killed %s ECS makes the task, and before it hears the answer, has one task in the end',
  async (when) => {
    const { ecs, world } = await ecsWorld()
    ecs.faults.next('RunTask', { kind: 'meanwhile', when, happens: () => world.killGateway() })
    const task = await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'none' } })
    await world.gatewayGone()
    await world.startGateway()
    expect(await world.ended(task.id)).toMatchObject({ outcome: 'succeeded' })
    expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
    const asked = ecs.calls.filter(({ operation }) => operation === 'RunTask').map(({ input }) => input)
    expect(new Set(asked.map((input) => JSON.stringify(input))).size).toBe(1)
  },
)
