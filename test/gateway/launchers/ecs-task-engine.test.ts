/** A task with a Docker engine of its own on EC2: what ECS is asked for, at the ECS of the tests, and what becomes of its words. */
import { expect, onTestFinished, test } from 'vitest'
import { statusOfTask } from '../../../gateway/launchers/ecs/status.ts'
import { machineFor } from '../../../gateway/tasks/machine.ts'
import { newGatewayId } from '../../../protocol/ids.ts'
import { IMAGE, startEcsSite } from '../../helpers/ecs/site.ts'
import { launchOptions, launchSpec } from '../../helpers/launching.ts'

const ec2 = {
  capacity: 'ec2',
  capacityProviders: ['instances'],
  assignPublicIp: false,
  taskEngine: { image: 'docker:dind', args: ['--mtu=1400'] },
}

async function scene(more: object) {
  const { ecs, launcher } = await startEcsSite()
  onTestFinished(async () => {
    await ecs.close()
    expect(ecs.problems).toEqual([]) // what the SDK's own schemas say of each request
  })
  return { ecs, launcher: launcher(newGatewayId(), more) }
}

test('the engine is a second container of the ECS task, the only privileged one, and the first is as ever', async () => {
  const { ecs, launcher } = await scene(ec2)
  const ask = async (docker: boolean) => {
    const machine = machineFor(launcher, { agent: 'command', machine: { docker } })
    const placement = await launcher.launch(launchSpec({ machine }), launchOptions())
    const called = ecs.calls.filter(({ operation }) => operation === 'RegisterTaskDefinition').at(-1)
    await launcher.stop(placement, 'seen')
    return called?.input as {
      family: string
      volumes?: unknown[]
      requiresCompatibilities: string[]
      containerDefinitions: Array<Record<string, unknown> & { linuxParameters: { capabilities: { drop: string[] } } }>
    }
  }
  const without = await ask(false)
  const { family, volumes, requiresCompatibilities, containerDefinitions } = await ask(true)
  const [plain, ...none] = without.containerDefinitions
  const [agent, engine, ...more] = containerDefinitions
  expect([none, more]).toEqual([[], []])
  expect(family).not.toBe(without.family)
  expect(requiresCompatibilities).toEqual(['EC2'])
  const names = ['docker', 'work', 'home', 'artifacts', 'tmp']
  const mounted = names.map((name) => ({ sourceVolume: `rclaude-${name}`, containerPath: `/rclaude/${name}` }))
  expect(volumes).toEqual(
    [...names.map((name) => `rclaude-${name}`), 'var-lib-docker'].map((name) => ({ name, host: {} })),
  )
  expect(agent).toEqual({
    ...plain,
    linuxParameters: expect.anything(),
    environment: [{ name: 'RCLAUDE_ENGINE_SOCKET', value: '/rclaude/docker/docker.sock' }],
    mountPoints: mounted,
    dependsOn: [{ containerName: 'docker', condition: 'START' }],
  })
  expect(agent).not.toHaveProperty('privileged')
  expect(agent?.linuxParameters.capabilities.drop).not.toContain('CHOWN')
  expect(engine).toEqual({
    name: 'docker',
    image: 'docker:dind',
    essential: false,
    privileged: true,
    command: ['dockerd', '--host=unix:///rclaude/docker/docker.sock', '--mtu=1400'],
    stopTimeout: 5,
    linuxParameters: { initProcessEnabled: true },
    mountPoints: [...mounted, { sourceVolume: 'var-lib-docker', containerPath: '/var/lib/docker' }],
  })
})

test('the doctor asks for the right to have it', async () => {
  const { ecs, launcher } = await scene(ec2)
  const findings = (await launcher.diagnose?.()) ?? []
  expect(findings.filter(({ name }) => name.startsWith('ecs:RegisterTaskDefinition'))).toMatchObject([{ ok: true }])
  const tried = ecs.calls.filter(({ operation }) => operation === 'RegisterTaskDefinition')
  expect(JSON.stringify(tried.map(({ input }) => input))).toContain('"privileged":true')
})

test('on Fargate it is refused with the reason, and so is the key; on EC2 without the key it is said who can set it', async () => {
  const { launcher } = await scene({})
  const ask = (from: typeof launcher) => () => machineFor(from, { agent: 'command', machine: { docker: true } })
  expect(ask(launcher)).toThrow(
    'launcher "ecs" takes no --docker: on Fargate there can be no Docker engine for a task; leave it out',
  )
  await expect(scene({ taskEngine: ec2.taskEngine })).rejects.toThrow(/taskEngine.*is for capacity ec2/s)
  const { launcher: bare } = await scene({ ...ec2, taskEngine: undefined })
  expect(ask(bare)).toThrow(/unless an administrator sets launchers\.ecs\.taskEngine/)
})

test('an engine that ends is told, and the task goes on', () => {
  const engine = { name: 'docker', image: IMAGE, lastStatus: 'STOPPED', exitCode: 1 }
  const containers = [{ name: 'agent', lastStatus: 'RUNNING' }, engine]
  expect(statusOfTask({ lastStatus: 'RUNNING', containers })).toEqual({
    status: 'running',
    engineEnded: "the task's Docker engine has ended: exit code 1",
  })
  expect(statusOfTask({ lastStatus: 'RUNNING', containers: containers.slice(0, 1) })).toEqual({ status: 'running' })
})
