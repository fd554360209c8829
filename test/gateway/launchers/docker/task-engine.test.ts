/** What a task with a Docker engine of its own, and that engine, are made with. What they do: test/e2e/task-engine.test.ts. */
import { expect, test } from 'vitest'
import { containerOf } from '../../../../gateway/launchers/docker/container.ts'
import { withEngine } from '../../../../gateway/launchers/docker/task-engine.ts'
import { DockerSection, type TaskEngine } from '../../../../protocol/launcher-config.ts'
import { launchSpec } from '../../../helpers/launching.ts'

const GIB = 1024 ** 3

function made(settings: { network?: string; taskEngine?: Partial<TaskEngine> } = {}) {
  const section = DockerSection.parse({
    image: 'agent:1',
    labels: { team: 'blue' },
    ...settings,
    taskEngine: { image: 'docker:dind', ...settings.taskEngine },
  })
  const spec = launchSpec({ machine: { cpu: 3, memoryBytes: 6 * GIB, docker: true } })
  const alone = containerOf(spec, section, 'gateway_1')
  const [task, engine, ...more] = withEngine(alone, spec.launchId, section, section.taskEngine as TaskEngine)
  if (task === undefined || engine === undefined) throw new Error('there are not two')
  expect(more).toEqual([])
  return { spec, alone, task, engine }
}

test('the task stays as it is but for the folders that both see, and the right to give them away', () => {
  const { alone, task } = made()
  expect(task).toEqual({
    ...alone,
    Env: [...alone.Env, 'RCLAUDE_ENGINE_SOCKET=/rclaude/docker/docker.sock'],
    Volumes: {
      '/rclaude/docker': {},
      '/rclaude/work': {},
      '/rclaude/home': {},
      '/rclaude/artifacts': {},
      '/rclaude/tmp': {},
    },
    HostConfig: { ...alone.HostConfig, CapAdd: expect.arrayContaining(['CHOWN', ...(alone.HostConfig.CapAdd ?? [])]) },
  })
  expect(new Set(task.HostConfig.CapAdd).size).toBe(task.HostConfig.CapAdd?.length)
  expect(task.HostConfig).not.toHaveProperty('Privileged')
})

test('the engine has the size, labels and network of the task, no TCP port, no secret and nothing of the machine', () => {
  const { spec, task, engine } = made({ taskEngine: { args: ['--mtu=1400'] } })
  expect(engine).toEqual({
    name: `rclaude-${spec.launchId}-docker`,
    Image: 'docker:dind',
    Labels: { ...task.Labels, 'rclaude.engine': '' },
    Env: [],
    Cmd: ['dockerd', '--host=unix:///rclaude/docker/docker.sock', '--mtu=1400'],
    Volumes: { '/var/lib/docker': {} },
    HostConfig: {
      Init: true,
      NanoCpus: 3e9,
      Memory: 6 * GIB,
      MemorySwap: 6 * GIB,
      PidsLimit: 4_096,
      RestartPolicy: { Name: 'no' },
      LogConfig: task.HostConfig.LogConfig,
      NetworkMode: `container:rclaude-${spec.launchId}`,
      VolumesFrom: [`rclaude-${spec.launchId}`],
      Privileged: true,
    },
  })
  expect(JSON.stringify(engine)).not.toContain(spec.joinCode)
})

test("the engine never has the machine's network", () => {
  expect(made({ network: 'host' }).engine.HostConfig.NetworkMode).toBe('bridge')
  expect(made({ network: 'host', taskEngine: { network: 'apart' } }).engine.HostConfig.NetworkMode).toBe('apart')
  expect(made({ network: 'mine', taskEngine: { network: 'apart' } }).engine.HostConfig.NetworkMode).toMatch(
    /^container:/,
  )
  expect(() => made({ taskEngine: { network: 'host' } })).toThrow(/must not be host/)
})

test('an engine that is not privileged has what is configured, outside the profiles of other containers', () => {
  const { HostConfig } = made({ taskEngine: { privileged: false, capabilities: ['NET_ADMIN'] } }).engine
  expect(HostConfig).toMatchObject({
    CapAdd: ['NET_ADMIN'],
    SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
    MaskedPaths: [],
    ReadonlyPaths: [],
  })
  expect(HostConfig).not.toHaveProperty('Privileged')
})
