/** Who is told that there is no Docker for a compose file. */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { composeWarning } from '../../../agent/run/compose-file.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const NO_SOCKET = '/nowhere/docker.sock'

function project(...files: string[]) {
  const cwd = temporaryDirectory()
  for (const name of files) writeFileSync(join(cwd, name), 'services: {}\n')
  return cwd
}

test('a compose file without an engine is told by its name', async () => {
  for (const name of ['compose.yaml', 'docker-compose.yml'])
    expect(await composeWarning(project(name), { PATH: '/nowhere' }, NO_SOCKET)).toMatch(`${name} wants Docker`)
})

test('nobody is told anything without such a file, or where there is an engine', async () => {
  const cwd = project('compose.yaml')
  const socket = join(project('docker.sock'), 'docker.sock')
  const podman = project('podman')
  chmodSync(join(podman, 'podman'), 0o755)
  const runtime = project('docker.sock')
  expect(await composeWarning(project('Dockerfile'), {}, NO_SOCKET)).toBeUndefined()
  expect(await composeWarning(cwd, {}, socket)).toBeUndefined()
  for (const env of [
    { DOCKER_HOST: 'tcp://x' },
    { DOCKER_CONTEXT: 'x' },
    { PATH: podman },
    { XDG_RUNTIME_DIR: runtime },
  ])
    expect(await composeWarning(cwd, env as Record<string, string>, NO_SOCKET)).toBeUndefined()
})
