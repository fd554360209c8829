/** A task's Docker engine as its agent sees it: a socket that appears some time, and answers some time. */
import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { endContainers, engineAnswers, giveSharedFolders } from '../../../agent/run/docker-engine.ts'
import { directoriesOf, workEnvironment } from '../../../agent/run/environment.ts'
import { AGENT_ENV, ENGINE_FOLDERS } from '../../../protocol/run.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const never = new AbortController().signal
const socketPath = () => join(temporaryDirectory(), 'docker.sock')
const isRoot = process.getuid?.() === 0

function listen(socket: string, answer: RequestListener): void {
  const server = createServer(answer).listen(socket)
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
}

test('the work waits until the engine says yes', async () => {
  const socket = socketPath()
  let asked = 0
  const waiting = engineAnswers(socket, undefined, never)
  listen(socket, (request, response) => {
    expect(request.url).toBe('/_ping')
    response.writeHead(++asked < 3 ? 503 : 200).end('OK')
  })
  await waiting
  expect(asked).toBe(3)
})

test.skipIf(!isRoot)('its socket is then the one of the work, and of the agent, and of nobody else', async () => {
  const socket = socketPath()
  listen(socket, (_, response) => response.end('OK'))
  chmodSync(socket, 0o660)
  await engineAnswers(socket, { uid: 4321, gid: 4321 }, never)
  expect(statSync(socket)).toMatchObject({ uid: 4321, gid: 0 })
})

test('the wait has an end, with what the engine did instead', async () => {
  const missing = engineAnswers(socketPath(), undefined, never, 300)
  await expect(missing).rejects.toThrow(
    "the task's Docker engine does not answer after 0.3 s: it has not begun to listen",
  )
  const socket = socketPath()
  listen(socket, (_, response) => response.writeHead(500).end())
  await expect(engineAnswers(socket, undefined, never, 300)).rejects.toThrow('it says 500')
})

test('the wait ends with the task, or when the engine is known to have ended, and says so', async () => {
  const stop = new AbortController()
  const waiting = engineAnswers(socketPath(), undefined, stop.signal)
  stop.abort(new Error('it has ended, and printed this'))
  await expect(waiting).rejects.toThrow('it has ended, and printed this')
})

test('what runs in it is ended, whatever else it says', async () => {
  const socket = socketPath()
  const ended: string[] = []
  listen(socket, (request, response) => {
    if (request.url === '/containers/json') return void response.end('[{"Id":"one"},{"Id":"t w o"},{"Id":"three"}]')
    ended.push(`${request.method} ${request.url}`)
    response.writeHead(ended.length === 1 ? 409 : 204).end()
  })
  await endContainers(socket)
  expect(ended).toEqual(['POST /containers/one/kill', 'POST /containers/three/kill'])
})

test('the work in its place can neither fill the agent nor hold it', async () => {
  const flood = socketPath()
  listen(flood, (_, response) => {
    const write = () => {
      while (!response.destroyed && response.write('x'.repeat(100_000)));
      response.once('drain', write)
    }
    write()
  })
  await expect(endContainers(flood)).rejects.toThrow('it says too much')
  const silent = socketPath()
  listen(silent, () => {})
  await expect(endContainers(silent)).rejects.toThrow('it is silent')
}, 20_000)

test.skipIf(!isRoot)('the folders that both see belong to the work', async () => {
  const root = temporaryDirectory()
  for (const name of ['docker', ...ENGINE_FOLDERS]) mkdirSync(join(root, name), { mode: 0o755 })
  await giveSharedFolders(root, join(root, 'docker/docker.sock'), { uid: 4321, gid: 4322 })
  for (const name of ENGINE_FOLDERS) {
    const stats = statSync(join(root, name))
    expect([stats.uid, stats.gid, stats.mode & 0o777]).toEqual([4321, 4322, 0o755])
  }
  expect(statSync(join(root, 'docker'))).toMatchObject({ uid: 4321 })
  expect(existsSync(join(root, 'state'))).toBe(false)
  const { work, home, artifacts, temporary } = directoriesOf(root)
  expect(ENGINE_FOLDERS.map((name) => join(root, name))).toEqual([work, home, artifacts, temporary])
})

test('the work finds it by DOCKER_HOST, unless the task names another', () => {
  const own = { [AGENT_ENV.engineSocket]: '/r/docker/docker.sock' }
  const base = { own, directories: directoriesOf('/r'), taskId: 'task', launchId: 'launch' }
  expect(workEnvironment(base, undefined).DOCKER_HOST).toBe('unix:///r/docker/docker.sock')
  const env = { DOCKER_HOST: 'tcp://elsewhere:2376' }
  expect(workEnvironment(base, { env, secrets: {} }).DOCKER_HOST).toBe('tcp://elsewhere:2376')
  expect(workEnvironment({ ...base, own: {} }, undefined)).not.toHaveProperty('DOCKER_HOST')
})
