/** Tasks in containers of a real engine, and what people are told when it does not give them one. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { createDockerLauncher } from '../../gateway/launchers/docker/docker.ts'
import type { Launcher } from '../../gateway/launchers/launcher.ts'
import { newGatewayId } from '../../protocol/ids.ts'
import { DockerSection } from '../../protocol/launcher-config.ts'
import { routes } from '../../protocol/routes.ts'
import { openDials } from '../conformance/dials.ts'
import { type DockerEngine, runDocker, startDockerEngine } from '../helpers/docker-engine.ts'
import { type Images, importImages, WORK_USER } from '../helpers/docker-images.ts'
import { eventually } from '../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../helpers/launching.ts'
import { type SmallRegistry, startSmallRegistry } from '../helpers/small-registry.ts'
import { capabilitiesIn, statusOf } from '../helpers/two-users.ts'
import { World } from '../helpers/world.ts'

const SECRET = 'canary-in-the-container-0123456789'
const MIB = 1024 ** 2
/** No agent: what a container that dies, or takes too much, looks like. */
const DYING = `rclaude-test-dying:${process.pid}`
const GREEDY = `rclaude-test-greedy:${process.pid}`

let engine: DockerEngine
let images: Images
let registry: SmallRegistry
let world: World
let whyNot: string | undefined
const launchers: Launcher[] = []

beforeAll(async () => {
  const started = await startDockerEngine()
  if (typeof started === 'string') {
    whyNot = `containers are not tried: ${started}`
    console.log(whyNot)
    return
  }
  engine = started
  images = importImages(engine, `e2e-${process.pid}`)
  const derive = (image: string, entrypoint: string) =>
    docker(['build', '-q', '-t', image, '-'], `FROM ${images.bare}\nENV PATH=/bin\nENTRYPOINT ${entrypoint}\n`)
  derive(DYING, '["sh", "-c", "echo cannot find libfoo >&2; exit 3"]')
  derive(GREEDY, '["tail", "/dev/zero"]')
  registry = await startSmallRegistry(execFileSync('tar', ['-C', engine.directory, '-c', '-T', '/dev/null']))
  world = new World({
    RCLAUDE_LAUNCHERS__DOCKER__HOST: engine.host,
    RCLAUDE_LAUNCHERS__DOCKER__IMAGE: images.agent,
    RCLAUDE_LAUNCHERS__DOCKER__NETWORK: 'host',
    RCLAUDE_LAUNCHERS__DOCKER__PULL: 'never',
    RCLAUDE_LAUNCHERS__DEFAULT: 'docker',
  })
  await world.startGateway()
}, 120_000)

afterAll(async () => {
  if (whyNot !== undefined) return
  await world.close()
  for (const launcher of launchers)
    for (const one of await launcher.list()) await launcher.stop(one, 'the test is over')
  const left = docker(['ps', '-a', '-q', '--filter', 'label=rclaude.gateway'])
  if (left !== '') docker(['rm', '-f', ...left.split('\n')])
  await registry.close()
  docker(['rmi', '-f', DYING, GREEDY, `${registry.image}:1`, `${registry.image}:latest`])
  images.remove()
  await engine.close()
  expect(left).toBe('')
}, 60_000)

const docker = (args: string[], input?: string): string => runDocker(engine, args, input)

const withEngine = (what: string, work: () => Promise<void>) =>
  test(what, async (context: TestContext) => {
    if (whyNot !== undefined) context.skip(whyNot)
    await work()
  }, 60_000)

function launcherWith(settings: Record<string, unknown> = {}, env: NodeJS.ProcessEnv = {}): Launcher {
  const section = DockerSection.parse({
    host: engine.host,
    image: images.agent,
    network: 'host',
    pull: 'never',
    memory: '256MiB',
    ...settings,
  })
  const launcher = createDockerLauncher({ section, gatewayId: newGatewayId(), env })
  launchers.push(launcher)
  return launcher
}

/** Resolves when it has ended, with what is said of it. */
async function endOf(launcher: Launcher) {
  const placement = await launcher.launch(launchSpec(), launchOptions())
  const status = await eventually('it has ended', async () => {
    const seen = (await launcher.inspect([placement])).get(placement.launchId)
    return seen?.status === 'stopped' ? seen : undefined
  })
  await launcher.stop(placement, 'seen')
  return status
}

describe('a task in a container', () => {
  withEngine('runs as a user without any rights, and its work comes back', async () => {
    const project = join(world.directory, 'project')
    mkdirSync(project)
    writeFileSync(join(project, 'README.md'), 'first\n')
    const git = (...args: string[]) => execFileSync('git', args, { cwd: project, stdio: 'pipe' })
    git('init', '-q')
    git('add', '.')
    git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '-m', 'first')
    const look = [
      'id -un',
      'ls -ldn . README.md "$HOME" "$RCLAUDE_ARTIFACTS"',
      'cat /proc/self/status',
      'for p in /proc/[0-9]*; do cat $p/environ 2>/dev/null; done | tail -c 100000 | cat -v',
      'ls /rclaude/state || echo closed',
      'echo changed > README.md; mkdir -p new; echo hidden > new/secret; chmod 700 new; chmod 600 new/secret',
      'echo kept > "$RCLAUDE_ARTIFACTS/report"; chmod 600 "$RCLAUDE_ARTIFACTS/report"',
    ].join('; ')
    const done = await world.cli(['run', '--secret', 'CANARY', '--', 'sh', '-c', look], {
      cwd: project,
      env: { ...world.asAdmin, CANARY: SECRET },
    })
    expect(done, done.stderr).toMatchObject({ code: 0 })
    expect(done.stdout).toContain(`${WORK_USER.name}\n`)
    expect(done.stdout).toMatch(new RegExp(`${WORK_USER.id} +${WORK_USER.id} .* README.md`))
    expect(done.stdout).toMatch(/CapEff:\s*0000000000000000/)
    expect(done.stdout).toMatch(/NoNewPrivs:\s*1/)
    expect(done.stdout).toContain('HOME=/rclaude/home') // its own environment, and of nobody else's:
    expect(done.stdout).not.toContain('RCLAUDE_JOIN_CODE')
    expect(done.stdout).toContain('closed')
    const patch = await world.cli(['diff', '@last'], { env: world.asAdmin, cwd: project })
    expect(patch.stdout).toContain('+changed')
    expect(patch.stdout).toContain('+hidden')
    const [task] = (await world.api().call(routes.listTasks, {})).tasks
    const { artifacts } = await world.api().call(routes.listArtifacts, { params: { taskId: task?.id ?? '' } })
    expect(artifacts).toMatchObject([{ name: 'report' }])
  })

  withEngine('has what was asked for and no secret in what the engine tells of it, and is open to people', async () => {
    const task = await world.createTask({
      agent: 'command',
      command: ['sleep', '600'],
      workspace: { kind: 'none' },
      machine: { cpu: 0.5, memoryBytes: 128 * MIB },
      secrets: { CANARY: SECRET },
    })
    const running = await world.state(task.id, 'running')
    const { handle } = (running as typeof running & { state: 'running' }).placement
    const text = docker(['inspect', handle])
    const [found] = JSON.parse(text)
    expect(found.HostConfig).toMatchObject({
      NanoCpus: 5e8,
      Memory: 128 * MIB,
      MemorySwap: 128 * MIB,
      PidsLimit: 4_096,
      Privileged: false,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
    })
    expect(text).not.toContain(SECRET)
    const run = (args: string[]) => world.cli(args, { env: world.asAdmin })
    expect(await run(['exec', task.id, '--', 'sh', '-c', 'id -u; echo "$CANARY"'])).toMatchObject({
      code: 0,
      stdout: `${WORK_USER.id}\n${SECRET}\n`,
    })
    writeFileSync(join(world.directory, 'sent'), 'by hand\n')
    expect(await run(['cp', 'sent', `${task.id}:below/sent`])).toMatchObject({ code: 0 })
    // What people send belongs to the work, folders on the way too.
    const owners = await run(['exec', task.id, '--', 'sh', '-c', 'echo more >> below/sent && ls -ln below | tail -1'])
    expect(owners.stdout, owners.stderr).toMatch(new RegExp(` ${WORK_USER.id} +${WORK_USER.id} .* sent`))
    // Nothing that the work starts outlives what started it, though it is another user's, in a session of its own.
    await run(['exec', task.id, '--', 'sh', '-c', 'setsid sleep 4321 >/dev/null 2>&1 &'])
    await eventually('what was left behind is gone', async () => !docker(['top', handle]).includes('4321'))
    await run(['stop', task.id])
    expect(await world.ended(task.id)).toMatchObject({ outcome: 'cancelled' })
    expect(docker(['ps', '-a', '-q', '--filter', `label=rclaude.task=${task.id}`])).toBe('')
  })

  withEngine(
    'has a daemon with three capabilities and a second process with none, which do all that people ask',
    async () => {
      const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
      const running = await world.state(task.id, 'running')
      const { handle } = (running as typeof running & { state: 'running' }).placement
      const run = (args: string[], env = {}) => world.cli(args, { env: { ...world.asAdmin, ...env } })
      const inTask = (script: string) => run(['exec', task.id, '--', 'sh', '-c', script])

      const top = docker(['top', handle, '-eo', 'pid,uid,args']).split('\n')
      const daemons = top.filter((line) => line.includes('agent.js')).map((line) => Number(line.trim().split(/\s+/)[0]))
      const [hands = 0, daemon = 0] = daemons.sort(
        (a, b) => Number(statusOf(a).Uid?.split('\t')[0] === '0') - Number(statusOf(b).Uid?.split('\t')[0] === '0'),
      )
      expect(capabilitiesIn(statusOf(daemon).CapEff ?? '').sort()).toEqual(['kill', 'setgid', 'setuid'])
      expect(statusOf(hands).Uid).toBe(Array(4).fill(WORK_USER.id).join('\t'))
      expect(capabilitiesIn(statusOf(hands).CapEff ?? '')).toEqual([])
      expect(statusOf(hands).Groups?.trim()).toBe('')

      // Files, where the work locked root out.
      expect((await inTask('umask 077; mkdir shut; echo inside > shut/file')).code).toBe(0)
      expect((await run(['cp', `${task.id}:shut/file`, '-'])).stdout).toBe('inside\n')
      writeFileSync(join(world.directory, 'sent'), 'by hand\n')
      expect(await run(['cp', 'sent', `${task.id}:shut/new/sent`])).toMatchObject({ code: 0 })
      const folder = join(world.directory, 'synced')
      mkdirSync(folder)
      writeFileSync(join(folder, 'local'), 'local\n')
      const synced = await run(['sync', `${task.id}:shut`, folder])
      expect(synced, synced.stderr).toMatchObject({ code: 0 })
      expect(readFileSync(join(folder, 'new/sent'), 'utf8')).toBe('by hand\n')
      expect((await inTask('cat shut/local; ls -ln shut/local')).stdout).toMatch(
        new RegExp(`^local\n.* ${WORK_USER.id} `),
      )
      expect((await run(['exec', '-w', 'shut', task.id, '--', 'cat', 'file'])).stdout).toBe('inside\n')

      // Who listens, and what was left behind.
      const script = "require('net').createServer().listen(34567,'127.0.0.1')"
      expect((await run(['exec', '-d', task.id, '--', '/opt/rclaude/node', '-e', script])).code).toBe(0)
      await eventually('the port has its process', async () =>
        /34567.*node/.test((await run(['ports', task.id])).stdout),
      )
      expect((await inTask('setsid sleep 4322 & exit 0')).code).toBe(0)
      expect(docker(['top', handle])).not.toContain('4322')

      const health = await world.api().call(routes.taskHealth, { params: { taskId: task.id } })
      expect(JSON.stringify(health)).toContain('"sleep"')
      await run(['stop', task.id])
      await world.ended(task.id)
    },
  )

  withEngine('runs in an image that knows nothing of rclaude, with the agent from a folder of the engine', async () => {
    const dials = await openDials({ listen: '127.0.0.1', reach: '127.0.0.1' })
    const launcher = launcherWith({ image: images.bare, agentFolder: images.agentFolder, workUser: '1234:1234' })
    const spec = launchSpec({ gatewayUrl: dials.url })
    const placement = await launcher.launch(spec, launchOptions())
    await dials.first(spec.launchId, 20_000)
    await dials.close()
    expect(docker(['exec', placement.handle, '/bin/ls', '-nd', '/rclaude/work'])).toMatch(/ 1234 +1234 /)
    await launcher.stop(placement, 'seen')
  })
})

describe('who has no container is told why', () => {
  withEngine('an image that is not there and must not be pulled', async () => {
    const launch = launcherWith({ image: 'not-here:7' }).launch(launchSpec(), launchOptions())
    await expect(launch).rejects.toThrow(/image not-here:7 is not on the Docker engine.*docker load/)
  })

  withEngine('an image that starts nothing', async () => {
    const launcher = launcherWith({ image: images.bare })
    await expect(launcher.launch(launchSpec(), launchOptions())).rejects.toThrow(
      /the Docker engine does not make the container: no command specified/i,
    )
    expect(await launcher.list()).toEqual([])
  })

  withEngine('a container that ends before its agent has dialled, with what it printed', async () => {
    expect(await endOf(launcherWith({ image: DYING }))).toMatchObject({
      exitCode: 3,
      detail: 'the container exited with code 3; it printed last: cannot find libfoo',
    })
  })

  withEngine('a container that takes more memory than it may', async () => {
    expect(await endOf(launcherWith({ image: GREEDY, memory: '64MiB' }))).toMatchObject({
      exitCode: 137,
      detail: 'the container ran out of memory (--memory)',
    })
  })

  withEngine('a container of somebody else that has its name, and stays as it is', async () => {
    const spec = launchSpec()
    const foreign = docker(['run', '-d', '--name', `rclaude-${spec.launchId}`, images.bare, '/bin/sleep', '600'])
    const launcher = launcherWith()
    const launch = launcher.launch(spec, launchOptions())
    await expect(launch).rejects.toThrow(/not of this gateway's making/)
    await launcher.stop({ launchId: spec.launchId, launcher: 'docker', handle: foreign, startedAt: '' }, 'not ours')
    expect(docker(['inspect', '-f', '{{.State.Status}}', foreign])).toBe('running')
    docker(['rm', '-f', foreign])
  })

  withEngine('an engine that does not answer', async () => {
    const launcher = launcherWith({ host: 'unix:///nowhere/docker.sock' })
    const failed = await launcher.launch(launchSpec(), launchOptions()).catch((error) => error)
    expect(failed).toMatchObject({ code: 'unavailable' })
    expect(failed.message).toMatch(/no Docker engine answers at unix:\/\/\/nowhere\/docker.sock: start it/)
    await expect(launcher.list()).rejects.toThrow(/no Docker engine answers/)
    launchers.pop()
  })
})

describe('an image is pulled', () => {
  const pull = (settings: Record<string, unknown>, env: NodeJS.ProcessEnv = {}) => {
    const options = launchOptions()
    const launch = launcherWith({ pull: 'always', ...settings }, env).launch(launchSpec(), options)
    return { launch, said: options.said }
  }

  withEngine('and who waits is told so', async () => {
    const { launch, said } = pull({ image: `${registry.image}:1` })
    await launch
    expect(said[0]).toBe(`pulling the image ${registry.image}:1`)
  })

  withEngine('unless there is no such tag', async () => {
    await expect(pull({ image: `${registry.image}:2` }).launch).rejects.toThrow(
      /there is no image .*:2: the registry knows no such tag/,
    )
  })

  withEngine('unless the registry wants a login, which is the one of docker login', async () => {
    registry.login = 'somebody:canary-of-the-registry'
    await expect(pull({ image: registry.image }).launch).rejects.toThrow(
      /does not give out the image .*small:latest \(.*\): it may not exist, or it takes a login: docker login/,
    )
    const auth = Buffer.from(registry.login).toString('base64')
    const auths = { [registry.image.split('/')[0] ?? '']: { auth } }
    writeFileSync(join(engine.directory, 'config.json'), JSON.stringify({ auths }))
    await pull({ image: registry.image }, { DOCKER_CONFIG: engine.directory }).launch
    registry.login = undefined
  })
})
