/** Tasks with a Docker engine of their own, on a real engine: what they can do with it, whose it is, and that it goes with them. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createDockerLauncher } from '../../gateway/launchers/docker/docker.ts'
import type { Launcher } from '../../gateway/launchers/launcher.ts'
import { newGatewayId } from '../../protocol/ids.ts'
import { DockerSection, type TaskEngine } from '../../protocol/launcher-config.ts'
import { routes } from '../../protocol/routes.ts'
import { runDocker } from '../helpers/docker-engine.ts'
import { WORK_USER } from '../helpers/docker-images.ts'
import { eventually } from '../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../helpers/launching.ts'
import { LOAD, RUN, withTaskEngines } from '../helpers/task-engine-site.ts'
import { World } from '../helpers/world.ts'

const { site, withEngine } = withTaskEngines()

const containersOf = (taskId: string): string[] =>
  site()
    .docker('ps', '-a', '--filter', `label=rclaude.task=${taskId}`, '--format', '{{.Names}}')
    .split('\n')
    .filter(Boolean)
    .sort()

const idle = (machine: { docker: boolean }) =>
  site().world.createTask({
    agent: 'command',
    command: ['sh', '-c', 'echo begun; exec sleep 600'],
    workspace: { kind: 'none' },
    machine,
  })

function launcherWith(ofEngine: Partial<TaskEngine> = {}, settings: { network?: string } = {}): Launcher {
  const { engine, images, taskEngine } = site()
  const section = DockerSection.parse({
    host: engine.host,
    image: images.agent,
    network: 'host',
    pull: 'never',
    memory: '512MiB',
    ...settings,
    taskEngine: { ...taskEngine.settings, ...ofEngine },
  })
  return createDockerLauncher({ section, gatewayId: newGatewayId(), env: {} })
}

const launchOf = (taskId: string) => containersOf(taskId)[0]?.replace(/-docker$/, '') ?? ''

withEngine("a task runs containers as the work's user, and they see its files", async ({ world, rclaude }) => {
  const project = join(world.directory, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'compose.yaml'), 'services: {}\n')
  writeFileSync(join(project, '.rclaude.yaml'), 'docker: true\n')
  const script = [
    'set -e',
    'id -un',
    'echo "engine $DOCKER_HOST"',
    LOAD,
    `${RUN} -v "$PWD:/app" -w /app tiny /bin/sh -c 'cat compose.yaml; echo written > by-a-container'`,
    'cat by-a-container',
    `mkdir "$TMPDIR/shared"; ${RUN} -v "$TMPDIR/shared:/out" tiny /bin/touch /out/temporary; ls "$TMPDIR/shared"`,
    'chmod 700 . && echo mine > "$RCLAUDE_ARTIFACTS/report"',
  ].join('\n')
  const done = await world.cli(['run', '--', 'sh', '-c', script], { cwd: project, env: world.asAdmin })
  expect(done, done.stderr).toMatchObject({ code: 0 })
  expect(done.stdout).toContain(
    `${WORK_USER.name}\nengine unix:///rclaude/docker/docker.sock\nservices: {}\nwritten\ntemporary\n`,
  )
  expect(done.stdout + done.stderr).not.toContain('wants Docker') // as it is said where there is none
  const patch = await world.cli(['diff', '@last'], { env: world.asAdmin, cwd: project })
  expect(patch.stdout).toContain('+written')
  const [task] = (await world.api().call(routes.listTasks, {})).tasks
  expect(task?.spec.machine).toEqual({ docker: true })
  expect(containersOf(task?.id ?? '')).toEqual([])
  expect((await rclaude('show', task?.id ?? '')).stdout).toMatch(/machine +with Docker/)
})

withEngine(
  'each has its own, which no other task can reach, and which knows nothing of the one that runs both',
  async ({ world, docker, rclaude }) => {
    const [one, other, none] = [
      await idle({ docker: true }),
      await idle({ docker: true }),
      await idle({ docker: false }),
    ]
    for (const { id } of [one, other, none]) await world.state(id, 'running')
    expect(containersOf(one.id)).toHaveLength(2)
    expect(containersOf(none.id)).toHaveLength(1)
    const inTask = (id: string, script: string) => rclaude('exec', id, '--', 'sh', '-c', script)
    await eventually('the engines answer', async () => (await inTask(other.id, 'docker version')).code === 0)
    expect(await inTask(one.id, `${LOAD} && docker images -q | head -1`)).toMatchObject({ code: 0 })
    expect(await inTask(other.id, 'docker images -q; docker ps -a -q')).toMatchObject({ code: 0, stdout: '' })
    const without = await inTask(none.id, 'ls /rclaude/docker; echo "host: $DOCKER_HOST"; docker version')
    expect(without.code).not.toBe(0)
    expect(without.stdout).toContain('host: \n')
    expect(without.stderr).toMatch(/\/rclaude\/docker.*No such file/)
    // Whatever else listens: neither the engine of both nor those of tasks are on the network that they share.
    expect(docker('inspect', '-f', '{{.HostConfig.NetworkMode}}', `${launchOf(one.id)}-docker`)).toBe('none')
    // What only the agent may see is not shared with a container that the work controls.
    const hidden = await inTask(one.id, `${RUN} -v /rclaude:/r tiny /bin/sh -c 'echo /r/*'`)
    expect(hidden.stdout.trim().split(' ').sort()).toEqual([
      '/r/artifacts',
      '/r/docker',
      '/r/home',
      '/r/tmp',
      '/r/work',
    ])
    for (const { id } of [one, other, none]) await rclaude('stop', id)
    for (const { id } of [one, other, none]) expect(containersOf(id)).toEqual([])
  },
)

withEngine('a task goes on without an engine that has ended, and says so', async ({ world, docker, rclaude }) => {
  const task = await idle({ docker: true })
  await eventually('its work has begun', async () => (await rclaude('logs', task.id)).stdout.includes('begun'))
  docker('kill', `${launchOf(task.id)}-docker`)
  const said = await eventually('the task says so', async () => {
    const { stdout } = await rclaude('logs', task.id)
    return stdout.includes('Docker engine has ended') ? stdout : undefined
  })
  expect(said).toContain("the task's Docker engine has ended: the container was ended by signal 9")
  expect(
    await rclaude('exec', task.id, '--', 'sh', '-c', 'docker version > /dev/null || echo no engine'),
  ).toMatchObject({
    stdout: 'no engine\n',
  })
  expect(await world.api().call(routes.getTask, { params: { taskId: task.id } })).toMatchObject({ state: 'running' })
  await rclaude('stop', task.id)
  expect(containersOf(task.id)).toEqual([])
})

withEngine(
  "a port that a container publishes is on the task's loopback, where previews and forwards find it",
  async ({ taskEngine, docker }) => {
    const network = `rclaude-test-engine-${process.pid}`
    docker('network', 'create', network)
    const args = taskEngine.settings.args.filter((one) => one !== '--bridge=none')
    const launcher = launcherWith({ args }, { network })
    const placement = await launcher.launch(launchSpec({ machine: { docker: true } }), launchOptions())
    const inTask = (script: string) =>
      docker('exec', '-e', 'DOCKER_HOST=unix:///rclaude/docker/docker.sock', placement.handle, '/bin/sh', '-c', script)
    const tries = (script: string) => () => {
      try {
        return inTask(script)
      } catch {
        return undefined
      }
    }
    await eventually('the engine answers', tries('docker version'))
    const serve = 'require("http").createServer((_, answer) => answer.end("from a container")).listen(80)'
    inTask('tar -C / -c opt/rclaude/node lib lib64 | docker import - tiny')
    inTask(`docker run -d -p 3000:80 tiny /opt/rclaude/node -e '${serve}'`)
    const fetching = 'fetch("http://localhost:3000").then((answer) => answer.text()).then(console.log)'
    expect(await eventually('it answers', tries(`/opt/rclaude/node -e '${fetching}'`))).toBe('from a container')
    await launcher.stop(placement, 'seen')
    docker('network', 'rm', network)
  },
)

withEngine('an engine that is left alone is found, and goes with its volumes', async ({ volumes, docker }) => {
  const launcher = launcherWith()
  const spec = launchSpec({ machine: { docker: true } })
  const placement = await launcher.launch(spec, launchOptions())
  docker('rm', '-f', '-v', placement.handle)
  expect((await launcher.inspect([placement])).get(spec.launchId)).toMatchObject({ status: 'gone' })
  const [left] = await launcher.list()
  expect(left).toMatchObject({ launchId: spec.launchId, taskId: spec.taskId })
  if (left !== undefined) await launcher.stop(left, 'no task owns it')
  expect(await launcher.list()).toEqual([])
  expect(docker('volume', 'ls', '-q')).toBe(volumes)
})

withEngine(
  'a task whose engine does not start fails soon, with what the engine printed',
  async ({ engine, images, taskEngine, world, docker }) => {
    // The next engine is none; the image that the gateway names is put back afterwards.
    const { image } = taskEngine.settings
    docker('tag', image, `${image}-kept`)
    const script = `FROM ${images.bare}\nENV PATH=/bin\nENTRYPOINT ["sh", "-c", "echo mount: permission denied >&2; exit 1"]\n`
    runDocker(engine, ['build', '-q', '-t', image, '-'], script)
    try {
      const task = await idle({ docker: true })
      const ended = await world.ended(task.id)
      expect(ended).toMatchObject({ outcome: 'failed', reason: 'launch' })
      expect(ended.message).toContain('exited with code 1; it printed last: mount: permission denied')
      expect(containersOf(task.id)).toEqual([])
    } finally {
      docker('tag', `${image}-kept`, image)
      docker('rmi', `${image}-kept`)
    }
  },
)

withEngine(
  'an engine that cannot start is told with what it printed, and leaves nothing',
  async ({ engine, images, volumes, docker }) => {
    const dying = `rclaude-test-dying-engine:${process.pid}`
    const script = `FROM ${images.bare}\nENV PATH=/bin\nENTRYPOINT ["sh", "-c", "echo mount: permission denied >&2; exit 1"]\n`
    runDocker(engine, ['build', '-q', '-t', dying, '-'], script)
    const launcher = launcherWith({ image: dying })
    const spec = launchSpec({ machine: { docker: true } })
    const placement = await launcher.launch(spec, launchOptions())
    const status = await eventually('it has ended', async () => {
      const seen = (await launcher.inspect([placement])).get(placement.launchId)
      return seen?.status === 'running' && seen.engineEnded !== undefined ? seen : undefined
    })
    expect(status.engineEnded).toBe(
      "the task's Docker engine has ended: the container exited with code 1; it printed last: mount: permission denied",
    )
    await launcher.stop(placement, 'seen')
    docker('rmi', '-f', dying)
    const other = launcherWith({ network: 'not-here' })
    await expect(other.launch(launchSpec({ machine: { docker: true } }), launchOptions())).rejects.toThrow(/not-here/)
    expect(await other.list()).toEqual([])
    expect(docker('volume', 'ls', '-q')).toBe(volumes)
  },
)

test('is only had where an administrator allows it, and that is said before there is a task', async () => {
  const plain = new World()
  await plain.startGateway()
  const folder = join(plain.directory, 'project')
  mkdirSync(folder)
  execFileSync('git', ['init', '-q'], { cwd: folder })
  const asked = await plain.cli(['run', '--docker', '--unsandboxed', '--', 'true'], { cwd: folder, env: plain.asAdmin })
  expect(asked.code).toBe(2)
  expect(asked.stderr).toContain(
    'launcher "process" takes no --docker: its tasks run on this machine, and use its Docker engine if it has one; leave it out, or choose another --launcher',
  )
  await plain.close()
})
