import { expect, test } from 'vitest'
import { loadConfig } from '../../gateway/config.ts'
import { GatewayConfig, type GatewayConfigInput } from '../../protocol/config.ts'
import { offersOf } from '../../protocol/launcher-config.ts'

const GIB = 1024 ** 3
const docker = { image: 'example.org/agent:1' }
const ecs = { ...docker, cluster: 'c', region: 'eu-central-1', subnets: ['subnet-0a1b'] }

const launchers = (section: GatewayConfigInput['launchers']) => GatewayConfig.safeParse({ launchers: section })
const faults = (section: object): string[] =>
  launchers(section as GatewayConfigInput['launchers']).error?.issues.map(
    ({ path, message }) => `${path.join('.')}: ${message}`,
  ) ?? []

test('docker and ecs are there only when their sections are', () => {
  const { launchers: none } = GatewayConfig.parse({})
  expect(none).toEqual({ default: 'process', process: { enabled: true } })
  const both = GatewayConfig.parse({ launchers: { docker, ecs } }).launchers
  expect(both.docker).toMatchObject({ cpu: 2, memory: 4 * GIB, pull: 'missing', network: 'bridge' })
  expect(both.ecs).toMatchObject({ cpu: 1, capacity: 'fargate', onDemandFallback: true, architecture: 'x86_64' })
  expect(both.ecs?.deadlines).toEqual({ launch: 1_200, dial: 120 })
})

test('each coding agent has its image, the one that is named or the one for all', () => {
  const section = GatewayConfig.parse({ launchers: { docker: { ...docker, images: { claude: 'with-claude:2' } } } })
  const { images, size } = offersOf(section.launchers.docker as NonNullable<typeof section.launchers.docker>)
  expect(images).toEqual({ claude: 'with-claude:2', command: 'example.org/agent:1' })
  expect(offersOf(section.launchers.docker as NonNullable<typeof section.launchers.docker>)).not.toHaveProperty(
    'docker',
  )
  expect(size).toEqual({ cpu: 2, maxCpu: 8, memoryBytes: 4 * GIB, maxMemoryBytes: 16 * GIB })
})

test.each([
  ['no image', { docker: {} }, /^launchers\.docker\.image: /],
  ['an image like an option', { docker: { image: '--privileged' } }, /docker\.image: expected the name of an image/],
  ['another coding agent', { docker: { ...docker, images: { oracle: 'x' } } }, /docker\.images/],
  ['more than the cap', { docker: { ...docker, cpu: 16 } }, /docker\.cpu: is more than maxCpu/],
  ['less than the default', { ecs: { ...ecs, maxMemory: '2GiB' } }, /ecs\.memory: is more than maxMemory/],
  ['too little memory', { docker: { ...docker, memory: 4 } }, /docker\.memory: expected 64MiB or more/],
  ['no network', { docker: { ...docker, network: 'none' } }, /docker\.network: must not be none/],
  ['an engine without an image', { docker: { ...docker, taskEngine: {} } }, /docker\.taskEngine\.image: /],
  [
    "an engine in the machine's network",
    { docker: { ...docker, taskEngine: { image: 'x', network: 'host' } } },
    /docker\.taskEngine\.network: must not be host/,
  ],
  ['another engine', { docker: { ...docker, host: 'npipe://x' } }, /docker\.host: expected unix:/],
  ['no cluster', { ecs: { ...ecs, cluster: undefined } }, /ecs\.cluster: /],
  ['a zone for a region', { ecs: { ...ecs, region: 'eu-central-1a' } }, /ecs\.region: expected a region/],
  ['no subnet', { ecs: { ...ecs, subnets: [] } }, /ecs\.subnets: expected one subnet at least/],
  ['a name for a role', { ecs: { ...ecs, taskRoleArn: 'admin' } }, /ecs\.taskRoleArn: expected a role such as/],
  ['a small disk', { ecs: { ...ecs, ephemeralStorage: '20GiB' } }, /ecs\.ephemeralStorage: expected 21GiB to 200GiB/],
  ['ec2 without providers', { ecs: { ...ecs, capacity: 'ec2' } }, /ecs\.capacityProviders: is empty/],
  [
    'providers without ec2',
    { ecs: { ...ecs, capacityProviders: ['a'] } },
    /ecs\.capacityProviders: is for capacity ec2/,
  ],
  ['a mistyped key', { ecs: { ...ecs, subnet: 'x' } }, /Unrecognized key: "subnet"/],
])('%s is refused by its key', (_, section, message) => {
  expect(faults(section).join('\n')).toMatch(message)
})

test('the environment configures a launcher as well', () => {
  const config = loadConfig(undefined, {
    RCLAUDE_LAUNCHERS__DOCKER__IMAGE: 'example.org/agent:1',
    RCLAUDE_LAUNCHERS__DOCKER__MAX_CPU: '2',
  })
  expect(config.launchers.docker).toMatchObject({ image: 'example.org/agent:1', maxCpu: 2 })
})
