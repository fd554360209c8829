/** How the engine is found, and what is said when it does not let us in. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createDockerLauncher } from '../../../../gateway/launchers/docker/docker.ts'
import { credentialsFor, engineAt, explain } from '../../../../gateway/launchers/docker/engine.ts'
import { newGatewayId } from '../../../../protocol/ids.ts'
import { DockerSection } from '../../../../protocol/launcher-config.ts'

describe('the engine', () => {
  test('is the one that is configured, else the one of DOCKER_HOST, else the local one', () => {
    expect(engineAt('tcp://one:1', { DOCKER_HOST: 'tcp://two:2' }).host).toBe('tcp://one:1')
    expect(engineAt(undefined, { DOCKER_HOST: 'tcp://two:2' }).host).toBe('tcp://two:2')
    expect(engineAt(undefined, {}).host).toBe('unix:///var/run/docker.sock')
  })

  test('is not reached by SSH, and that is said at the start', () => {
    expect(() => engineAt(undefined, { DOCKER_HOST: 'ssh://somewhere' })).toThrow(
      'DOCKER_HOST is ssh://somewhere: expected unix:///path, tcp://host:port or https://host:port',
    )
  })

  test('that is another machine is asked over TCP', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.setHeader('content-type', 'application/json').end('[]')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const gatewayId = newGatewayId()
    const section = DockerSection.parse({
      image: 'a',
      host: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    })
    expect(await createDockerLauncher({ section, gatewayId, env: {} }).list()).toEqual([])
    expect(decodeURIComponent(asked[0] ?? '')).toContain(`rclaude.gateway=${gatewayId}`)
  })

  test('that refuses its socket is a matter of the group, not of trying again', () => {
    const refused = Object.assign(new Error('connect EACCES /run/docker.sock'), { code: 'EACCES' })
    expect(explain(refused, { host: 'unix:///run/docker.sock' })).toMatchObject({
      code: 'forbidden',
      message: expect.stringMatching(/may not use the Docker engine at \/run\/docker.sock: add its user to the group/),
    })
  })

  test('that cannot be reached now may be later', () => {
    const cases = [
      ['ECONNREFUSED', /no Docker engine answers at tcp:\/\/far:1/],
      ['EHOSTUNREACH', /the Docker engine at tcp:\/\/far:1 cannot be reached/],
    ] as const
    for (const [code, message] of cases)
      expect(explain(Object.assign(new Error(code), { code }), { host: 'tcp://far:1' })).toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(message),
      })
  })
})

test('the login of a registry is the one for that registry', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rclaude-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const of = (login: string) => ({ auth: Buffer.from(login).toString('base64') })
  const auths = { 'registry.example.org:5000': of('a:b:c'), 'https://index.docker.io/v1/': of('hub:word') }
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ auths }))
  const login = async (image: string) => {
    const found = await credentialsFor(image, { DOCKER_CONFIG: folder })
    return found && JSON.parse(Buffer.from(found.base64, 'base64url').toString())
  }
  expect(await login('registry.example.org:5000/team/image:1')).toMatchObject({ username: 'a', password: 'b:c' })
  expect(await login('team/image:1')).toMatchObject({ username: 'hub', password: 'word' })
  expect(await login('image')).toMatchObject({ username: 'hub' })
  expect(await login('elsewhere.example.org/image')).toBeUndefined()
  expect(await credentialsFor('image', { DOCKER_CONFIG: join(folder, 'nowhere') })).toBeUndefined()
})
