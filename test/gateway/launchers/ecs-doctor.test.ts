/** What the ECS launcher's doctor must not do to launches, and how it tells that nobody answers. */
import { expect, onTestFinished, test } from 'vitest'
import { EcsApi } from '../../../gateway/launchers/ecs/api.ts'
import { machineFor } from '../../../gateway/tasks/machine.ts'
import { newGatewayId } from '../../../protocol/ids.ts'
import { EcsSection } from '../../../protocol/launcher-config.ts'
import { startEcsSite } from '../../helpers/ecs/site.ts'
import { launchOptions, launchSpec } from '../../helpers/launching.ts'

async function scene() {
  const { ecs, launcher: at } = await startEcsSite()
  onTestFinished(() => ecs.close())
  const gatewayId = newGatewayId()
  const newLauncher = () => at(gatewayId)
  const spec = () => launchSpec({ machine: machineFor(newLauncher(), { agent: 'command' }) })
  return { ecs, newLauncher, spec }
}

test('a launch while the doctor tries to register takes nothing that it takes away again', async () => {
  const { ecs, newLauncher, spec } = await scene()
  await newLauncher().launch(spec(), launchOptions())
  const restarted = newLauncher() // it knows of no definition
  ecs.faults.next('DeregisterTaskDefinition', {
    kind: 'meanwhile',
    when: 'before',
    happens: async () => void (await restarted.launch(spec(), launchOptions())),
  })
  expect((await restarted.diagnose?.())?.filter(({ ok }) => !ok)).toEqual([])
  await restarted.launch(spec(), launchOptions())
  const used = ecs.tasks().map(({ options }) => `${options.definition.family}:${options.definition.revision}`)
  expect(used).toHaveLength(3)
  expect(new Set(used).size).toBe(1)
})

test('a definition that somebody took away costs one launch, and the next registers it anew', async () => {
  const { ecs, newLauncher, spec } = await scene()
  const launcher = newLauncher()
  await launcher.launch(spec(), launchOptions())
  for (const definition of ecs.operations.definitions.values()) definition.status = 'INACTIVE'
  await expect(launcher.launch(spec(), launchOptions())).rejects.toThrow('TaskDefinition is inactive')
  await launcher.launch(spec(), launchOptions())
})

test('where nobody answers it is said in time, with what the last try came to', async () => {
  const section = EcsSection.parse({
    cluster: 'dev',
    region: 'eu-central-1',
    subnets: ['subnet-0123456789abcdef0'],
    image: 'example.org/agent:1',
    endpoint: 'http://127.0.0.1:9',
  })
  const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'none' }
  const api = new EcsApi({ section, credentials, firstPauseMs: 10 })
  const asked = api.call(
    'read',
    'ListTasks',
    (ecs, options) => ecs.listTasks({ cluster: 'dev' }, options),
    AbortSignal.timeout(1_500),
  )
  await expect(asked).rejects.toMatchObject({
    name: 'TimeoutError',
    message: expect.stringMatching(/^AWS did not answer in time; the last try: .*ECONNREFUSED/),
  })
})
