/** The files of deploy/compose, by the programs that read them. No image is pulled and nothing is started here. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { GatewayConfig } from '../../protocol/config.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

const FOLDER = 'deploy/compose'
const read = (name: string): string => readFileSync(`${FOLDER}/${name}`, 'utf8')
const env = { PATH: process.env.PATH, HOME: '/nonexistent', RCLAUDE_DOMAIN: 'rclaude.example.org' }
const isThere = (program: string, argument: string): boolean => spawnSync(program, [argument]).status === 0

const hasCaddy = isThere('caddy', 'version')
if (!hasCaddy) console.log('deploy/compose/Caddyfile is not validated here: caddy is not installed')

test.skipIf(!hasCaddy)('Caddy takes its file, asks for a certificate of the domain and hands on to the gateway', () => {
  const files = ['--adapter', 'caddyfile', '--config', `${FOLDER}/Caddyfile`]
  const validated = spawnSync('caddy', ['validate', ...files], { env, encoding: 'utf8' })
  expect(validated.status, validated.stderr).toBe(0)
  const adapted: unknown = JSON.parse(
    execFileSync('caddy', ['adapt', ...files], { env, encoding: 'utf8', stdio: 'pipe' }),
  )
  const proxy = { handler: 'reverse_proxy', upstreams: [{ dial: 'gateway:7420' }] }
  const site = { match: [{ host: ['rclaude.example.org'] }], terminal: true }
  expect(adapted).toEqual({
    apps: {
      http: {
        servers: {
          srv0: {
            listen: [':443'],
            routes: [{ ...site, handle: [{ handler: 'subroute', routes: [{ handle: [proxy] }] }] }],
          },
        },
      },
    },
  })
})

const hasCompose = isThere('docker-compose', '--version')
if (!hasCompose) console.log('deploy/compose/compose.yaml is not validated here: docker-compose is not installed')

/** Debian's, 1.29: it checks against the schema, but does not know `name`, which came later. */
function composed(environment: NodeJS.ProcessEnv) {
  const file = join(temporaryDirectory(), 'compose.yaml')
  writeFileSync(file, read('compose.yaml').replace(/^name: \w+$/m, ''))
  return spawnSync('docker-compose', ['-f', file, 'config'], { env: environment, encoding: 'utf8' })
}

test.skipIf(!hasCompose)('docker-compose takes its file, and says which variable is missing', () => {
  const { stdout, stderr, status } = composed(env)
  expect(status, stderr).toBe(0)
  expect(parse(stdout)).toMatchObject({
    services: {
      gateway: {
        environment: { RCLAUDE_PUBLIC_URL: 'https://rclaude.example.org' },
        read_only: true,
        cap_drop: ['ALL'],
      },
      caddy: { environment: { RCLAUDE_DOMAIN: 'rclaude.example.org' } },
    },
  })
  const refused = composed({ ...env, RCLAUDE_DOMAIN: '' })
  expect(refused.status).not.toBe(0)
  expect(refused.stderr).toMatch(/RCLAUDE_DOMAIN|is the name under which/)
})

test('only Caddy can be reached, and the gateway believes its network alone', () => {
  const { services, networks } = parse(read('compose.yaml'))
  expect(services.gateway).not.toHaveProperty('ports')
  for (const name of ['gateway', 'caddy']) expect(services[name].networks).toEqual(['front'])
  const config = parse(read('config.yaml'))
  expect(config.listen.trustedProxies).toEqual([networks.front.ipam.config[0].subnet])
})

test('the gateway takes its configuration', () => {
  const { launchers, listen } = GatewayConfig.parse(parse(read('config.yaml')))
  expect(listen.host).toBe('0.0.0.0')
  expect(launchers).toMatchObject({ default: 'ecs', process: { enabled: false }, ecs: { cluster: 'rclaude' } })
})
