/** `rclaude ecs ...`: the built gateway and CLI, at the ECS of the tests. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { untilGone } from '../../cli/ecs/placements.ts'
import { machineFor } from '../../gateway/tasks/machine.ts'
import { newGatewayId } from '../../protocol/ids.ts'
import { EcsSection } from '../../protocol/launcher-config.ts'
import { routes } from '../../protocol/routes.ts'
import type { Ecs } from '../helpers/ecs/server.ts'
import { ecsLauncherAt, IMAGE } from '../helpers/ecs/site.ts'
import { ecsWorld } from '../helpers/ecs/world.ts'
import { eventually } from '../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../helpers/launching.ts'
import { World } from '../helpers/world.ts'

/** The gateway itself sweeps no more after its first round. */
const NO_SWEEP = { RCLAUDE_INTERVALS__RECONCILE: '10m' }

async function commandsAt(settings: Record<string, string> = NO_SWEEP) {
  const { ecs, world } = await ecsWorld(settings)
  const ecsCommand = (...args: string[]) => world.cli(['ecs', ...args], { env: world.asAdmin })
  const { gatewayId } = await world.api().call(routes.info)
  // Its first round is over once it has listed: what is launched from now on it leaves alone.
  await eventually('it has listed', () => ecs.calls.some(({ operation }) => operation === 'ListTasks'))
  return { ecs, world, ecsCommand, gatewayId }
}

/** A machine that a gateway has launched and knows nothing of. */
async function launchOrphan(ecs: Ecs, gatewayId: string) {
  const launcher = ecsLauncherAt(ecs, gatewayId)
  const spec = launchSpec({ machine: machineFor(launcher, { agent: 'command' }) })
  return { ...(await launcher.launch(spec, launchOptions())), taskId: spec.taskId }
}

const statusOf = (ecs: Ecs, handle: string) => ecs.tasks().find(({ arn }) => arn === handle)?.status

test('what runs is listed with its price, orphans are told apart and stopped, and what is others stays', async () => {
  const { ecs, world, ecsCommand, gatewayId } = await commandsAt()
  const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  await world.state(task.id, 'running')
  const first = await launchOrphan(ecs, gatewayId)
  const second = await launchOrphan(ecs, gatewayId)
  const stranger = await launchOrphan(ecs, newGatewayId())

  const listed = await ecsCommand('list')
  expect(listed).toMatchObject({ code: 0, stderr: expect.stringContaining('3 machines, about $0.') })
  expect(listed.stdout).toMatch(new RegExp(`${task.id} +running +\\d+s +\\$0\\.\\d+ +\\$0\\.\\d+ +[0-9a-f]{32}`))
  expect(listed.stdout).toMatch(new RegExp(`${first.taskId} +\\w+, ORPHAN`))
  expect(listed.stdout).not.toContain(stranger.handle.split('/').at(-1))
  const all = await ecsCommand('list', '--all')
  expect(all.stdout).toMatch(new RegExp(`of gateway gw_\\w+ .*${stranger.handle.split('/').at(-1)}`))
  const json = JSON.parse((await ecsCommand('list', '--json')).stdout)
  expect(json.placements.map(({ isKnown }: { isKnown: boolean }) => isKnown)).toEqual([true, false, false])

  const shown = await ecsCommand('show', task.id)
  expect(shown.stdout).toMatch(/price +\$0\.\d{4} an hour/)
  expect((await ecsCommand('show', 'nothing')).stderr).toContain('rclaude ecs list shows what there is')

  const refused = await ecsCommand('stop', task.id)
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toContain(`rclaude stop ${task.id}`)
  expect(await world.getTask(task.id)).toMatchObject({ state: 'running' })

  const stopped = await ecsCommand('stop', first.handle)
  expect(stopped).toMatchObject({ code: 0, stdout: expect.stringContaining('stopped') })
  expect(statusOf(ecs, first.handle)).toBe('STOPPED')
  const dry = await ecsCommand('sweep', '-n')
  expect(dry.stdout).toContain(`of ${second.taskId} would be stopped`)
  expect(statusOf(ecs, second.handle)).not.toBe('STOPPED')
  expect((await ecsCommand('sweep')).stdout).toContain(`of ${second.taskId} stopped`)
  expect((await ecsCommand('sweep')).stdout).toBe('no orphans\n')
  expect([second, stranger].map(({ handle }) => statusOf(ecs, handle))).toEqual(['STOPPED', 'RUNNING'])
  expect(await world.getTask(task.id)).toMatchObject({ state: 'running' })
}, 60_000)

test('stop and sweep wait until what takes its time is gone, and return at once with --no-wait', async () => {
  const { ecs, world, ecsCommand, gatewayId } = await commandsAt()
  const orphan = await launchOrphan(ecs, gatewayId)
  await eventually('it runs', () => statusOf(ecs, orphan.handle) === 'RUNNING')
  const pid = ecs.tasks().find(({ arn }) => arn === orphan.handle)?.pid ?? 0
  process.kill(pid, 'SIGSTOP') // it does not see SIGTERM, and SIGKILL comes later
  const told = await ecsCommand('sweep', '--no-wait')
  expect(told).toMatchObject({ code: 0, stdout: expect.stringMatching(/is stopping: rclaude ecs list shows/) })
  expect(statusOf(ecs, orphan.handle)).not.toBe('STOPPED')
  const [stopping] = (await world.api().call(routes.sweepPlacements, { body: { launcher: 'ecs', waitSeconds: 0 } }))
    .swept
  expect(stopping).toMatchObject({ launchId: orphan.launchId, result: 'stopping' })
  expect((await ecsCommand('list')).stdout).toMatch(new RegExp(`${orphan.taskId} +stopping, ORPHAN`))
  const notes: string[] = []
  const gone = await untilGone(world.api(), stopping ? [stopping] : [], (text) => notes.push(text), 1)
  expect(gone).toMatchObject([{ launchId: orphan.launchId, result: 'stopped' }])
  expect(statusOf(ecs, orphan.handle)).toBe('STOPPED')
  expect(notes).toEqual([expect.stringMatching(/^[0-9a-f]{32} is stopping$/)])
})

test('an orphan that does not stop is said, and exits with 1', async () => {
  const { ecs, ecsCommand, gatewayId } = await commandsAt()
  const { taskId } = await launchOrphan(ecs, gatewayId)
  ecs.faults.denied.add('StopTask')
  const swept = await ecsCommand('sweep')
  expect(swept).toMatchObject({ code: 1, stdout: expect.stringContaining(`of ${taskId} could not be stopped`) })
  expect(swept.stdout).toContain('AWS does not let the gateway do ecs:StopTask')
})

test('a gateway that is held lists what runs, and stops none of it', async () => {
  const { ecs, world, ecsCommand, gatewayId } = await commandsAt()
  const { handle } = await launchOrphan(ecs, gatewayId)
  await world.killGateway('SIGTERM')
  const now = new Date().toISOString()
  writeFileSync(join(world.data, 'restored.json'), JSON.stringify({ restoredAt: now, takenAt: now }))
  await world.startGateway()
  expect((await ecsCommand('list')).stdout).toContain('ORPHAN')
  for (const command of [['sweep'], ['stop', handle]]) {
    const refused = await ecsCommand(...command)
    expect(refused).toMatchObject({ code: 9, stderr: expect.stringContaining('rclaude gateway confirm-restore') })
  }
  expect(statusOf(ecs, handle)).toBe('RUNNING')
})

test('doctor looks at each permission, and a task dials back', async () => {
  const { ecs, world, ecsCommand } = await commandsAt()
  const well = await ecsCommand('doctor')
  expect(well).toMatchObject({ code: 0 })
  for (const name of ['credentials', 'cluster', 'capacity', 'ecs:ListTasks', 'ecs:DescribeTasks', 'ecs:StopTask'])
    expect(well.stdout).toMatch(new RegExp(`✓ ${name} `))
  expect(well.stdout).toContain(`allowed; ${IMAGE} is registered when it is first launched`)
  for (const step of ['ECS takes a task', 'it dials agentUrl', 'it runs a command'])
    expect(well.stdout).toMatch(new RegExp(`✓ probe: ${step} +after \\d`))
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
  expect((await world.api().call(routes.listTasks, { query: {} })).tasks).toEqual([])
  expect(ecs.problems).toEqual([])

  expect((await ecsCommand('doctor', '--no-probe')).stdout).toContain(`allowed; ${IMAGE} is rclaude-`)
  const quick = await ecsCommand('doctor', '--no-probe', '--json')
  expect(JSON.parse(quick.stdout)).toMatchObject({ ok: true })
  expect(ecs.tasks()).toHaveLength(1)
  const active = [...ecs.operations.definitions.values()].filter(({ status }) => status === 'ACTIVE')
  expect(active.map(({ revision }) => revision)).toEqual([1])
}, 60_000)

test('of several that are to be stopped one refusal hides no other, and the beginning of a launch names one', async () => {
  const { ecs, world, ecsCommand, gatewayId } = await commandsAt()
  const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  await world.state(task.id, 'running')
  const orphan = await launchOrphan(ecs, gatewayId)
  expect(JSON.parse((await ecsCommand('show', orphan.launchId.slice(0, -3), '--json')).stdout)).toMatchObject({
    launchId: orphan.launchId,
  })
  expect(await ecsCommand('stop', '')).toMatchObject({ code: 2, stderr: expect.stringContaining('an empty name') })
  const both = await ecsCommand('stop', orphan.handle, task.id)
  expect(both.code).not.toBe(0)
  expect(both.stdout).toMatch(new RegExp(`of ${orphan.taskId} (is stopping|stopped)`))
  expect(both.stderr).toContain(`rclaude stop ${task.id}`)
})

test('what AWS says of a probe cannot drive the terminal', async () => {
  const { ecs, ecsCommand } = await commandsAt({ RCLAUDE_INTERVALS__LAUNCH_RETRY: '1s' })
  const detail = 'x\u001b]0;owned\u0007\u001b[2Jy'
  ecs.faults.next('RunTask', { kind: 'failure', failure: { reason: 'RESOURCE:CPU', detail } })
  const { stdout, stderr } = await ecsCommand('doctor')
  expect(stderr).toContain('owned')
  expect(`${stdout}${stderr}`).not.toMatch(/[\u001b\u0007]/)
})

test('a probe that is not let in is a finding beside the others', async () => {
  const { ecsCommand } = await commandsAt({ RCLAUDE_LIMITS__MIN_FREE_DISK: '900TiB' })
  const { code, stdout } = await ecsCommand('doctor', '--json')
  expect(code).toBe(1)
  const { findings } = JSON.parse(stdout) as { findings: Array<{ name: string; ok: boolean }> }
  expect(findings.at(-1)).toMatchObject({ name: 'probe', ok: false })
  expect(findings.filter(({ ok }) => ok).length).toBeGreaterThan(5)
})

test('a probe that a limit keeps waiting says so', async () => {
  const { world } = await commandsAt({ ...NO_SWEEP, RCLAUDE_LIMITS__MAX_TASKS: '1' })
  const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  await world.state(task.id, 'running')
  const doctor = world.startCli(['ecs', 'doctor'], { env: world.asAdmin })
  let said = ''
  doctor.process.stderr?.on('data', (text) => {
    said += text
  })
  await eventually('it says so', () => said.includes('waits in the queue, 1st; limits.maxTasks'))
  await world.api().call(routes.stopTask, { params: { taskId: task.id }, body: { reason: 'the test goes on' } })
  expect((await doctor.result).code).toBe(0)
})

test('doctor --timeout ends a probe that takes too long, its task too, and says so', async () => {
  const { ecs, world, ecsCommand } = await commandsAt()
  ecs.faults.next('RunTask', { kind: 'no-capacity', ms: 600_000 })
  const late = await ecsCommand('doctor', '--timeout', '1s')
  expect(late).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/✗ probe: .*it took longer than --timeout 1\.0s/),
  })
  const { tasks } = await world.api().call(routes.listTasks, { query: {} })
  expect(tasks.map(({ state }) => state)).toEqual(['ended'])
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
})

test('doctor names each action that is missing, and launches nothing until it is there', async () => {
  const { ecs, ecsCommand } = await commandsAt()
  for (const action of ['DescribeClusters', 'ListTasks', 'DescribeTasks', 'StopTask', 'RegisterTaskDefinition']) {
    ecs.faults.denied.clear()
    ecs.faults.denied.add(action)
    const said = await ecsCommand('doctor', '--json')
    expect(said.code).toBe(1)
    const bad = JSON.parse(said.stdout).findings.filter(({ ok }: { ok: boolean }) => !ok)
    expect(bad).toHaveLength(1)
    expect(bad[0]).toMatchObject({
      detail: expect.stringContaining(`does not let the gateway do ecs:${action}`),
      fix: expect.stringContaining('gateway-policy.yaml'),
    })
  }
  expect(ecs.tasks()).toEqual([])
}, 60_000)

test('doctor tells a cluster that is not there, and a probe that ECS refuses', async () => {
  const wrong = await commandsAt({ ...NO_SWEEP, RCLAUDE_LAUNCHERS__ECS__CLUSTER: 'elsewhere' })
  expect((await wrong.ecsCommand('doctor')).stdout).toMatch(/✗ cluster +there is no elsewhere in eu-central-1/)

  const { ecs, ecsCommand } = await commandsAt()
  ecs.faults.denied.add('RunTask')
  const refused = await ecsCommand('doctor')
  expect(refused.code).toBe(1)
  expect(refused.stdout).toMatch(/✗ probe: ECS takes a task +.*does not let the gateway do ecs:RunTask/)
  expect(refused.stdout).toMatch(/→ look at .*; rclaude logs task_/)
}, 60_000)

test('init writes the section from the outputs of the stack, keeps the rest of the file, and is what the gateway reads', async () => {
  const world = new World()
  const file = join(world.directory, 'config.yaml')
  const outputs = Object.entries({
    cluster: 'dev',
    region: 'eu-central-1',
    subnets: 'subnet-0a,subnet-0b',
    securityGroups: 'sg-0a',
    assignPublicIp: 'true',
    capacity: 'fargate',
    executionRoleArn: 'arn:aws:iam::123456789012:role/rclaude-execution',
    logGroup: '/rclaude/agents',
    somethingElse: 'x',
  }).map(([OutputKey, OutputValue]) => ({ OutputKey, OutputValue }))
  const init = (...args: string[]) =>
    world.cli(['ecs', 'init', '--config', file, ...args], { stdin: JSON.stringify({ Stacks: [{ Outputs: outputs }] }) })
  writeFileSync(file, '# ours\nlimits: # why\n  maxTasks: 3\nlaunchers:\n  # docker: {}\n', { mode: 0o640 })

  const dry = await init('--outputs', '-', '--image', 'agent:1', '-n')
  expect(dry).toMatchObject({ code: 0, stdout: expect.stringContaining('cluster: dev') })
  expect(readFileSync(file, 'utf8')).not.toContain('dev')

  const done = await init('--outputs', '-', '--image', 'agent:1', '--default', '--agent-url', 'https://gw.example.org')
  expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('gateway-policy.yaml') })
  expect(done.stdout).toContain('Cluster=dev ExecutionRoleArn=arn:aws:iam::123456789012:role/rclaude-execution')
  const text = readFileSync(file, 'utf8')
  for (const kept of ['# ours', '# why', 'maxTasks: 3', '# docker: {}']) expect(text).toContain(kept)
  const { launchers, agentUrl } = parse(text)
  expect([launchers.default, agentUrl]).toEqual(['ecs', 'https://gw.example.org'])
  expect(EcsSection.parse(launchers.ecs)).toMatchObject({ subnets: ['subnet-0a', 'subnet-0b'], assignPublicIp: true })
  expect(statSync(file).mode & 0o777).toBe(0o640)

  expect(await init('--outputs', '-', '--image', 'agent:2')).toMatchObject({ code: 9 })
  expect(readFileSync(file, 'utf8')).toBe(text)
  writeFileSync(file, text.replace('    cluster: dev', '    memory: 8GiB\n    cluster: dev'))
  expect(await init('--outputs', '-', '--image', 'agent:2', '--force', '-n')).toMatchObject({
    stderr: expect.stringContaining('would lose what --force replaced: memory'),
  })
  const forced = await init('--outputs', '-', '--image', 'agent:2', '--force', '--json')
  expect(JSON.parse(forced.stdout)).toMatchObject({ written: true, dropped: ['memory'] })
  expect(parse(readFileSync(file, 'utf8')).launchers.ecs.image).toBe('agent:2')
})

const ROLE = 'arn:aws:iam::123456789012:role/x'

test('init writes nothing that the gateway would not start with, and quotes what is to be pasted', async () => {
  const world = new World()
  const file = join(world.directory, 'config.yaml')
  const flags = ['--cluster', 'dev', '--region', 'eu-central-1', '--subnets', 'subnet-0a', '--image', 'agent:1']
  const init = (...more: string[]) => world.cli(['ecs', 'init', '--config', file, ...flags, ...more])
  expect(await init('--agent-url', 'gw example')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('agentUrl'),
  })
  expect(existsSync(file)).toBe(false)
  for (const wrong of ['limits: { tasks: 3 }\n', 'limits: {}\n...\n']) {
    writeFileSync(file, wrong)
    expect(await init()).toMatchObject({ code: 2, stderr: expect.stringContaining('would not start with') })
    expect(readFileSync(file, 'utf8')).toBe(wrong)
  }
  const pasted = await init('-n', '--config', join(world.directory, 'new.yaml'), '--execution-role', `${ROLE};touch y`)
  expect(pasted.stdout).toContain(`'ExecutionRoleArn=${ROLE};touch y'`)
})

test('init says what is missing or wrong, and how to make it, and writes nothing then', async () => {
  const world = new World()
  const init = (...args: string[]) => world.cli(['ecs', 'init', ...args], { cwd: world.directory, stdin: '{}' })
  expect((await init()).stdout).toMatch(/aws cloudformation deploy .*tasks\.yaml[\s\S]*describe-stacks/)
  expect((await init('--cluster', 'dev', '--region', 'eu-central-1')).stderr).toContain(
    '--subnets, --image are missing',
  )
  const odd = await init('--cluster', 'dev', '--region', 'europe', '--subnets', 'subnet-0a,x', '--image', 'a')
  expect(odd.stderr).toMatch(/region: expected a region such as[\s\S]*subnets\.1: expected a subnet/)
  expect((await init('--outputs', '-', '--image', 'a')).stderr).toContain('no outputs of a stack')
  expect(existsSync(join(world.directory, 'config.yaml'))).toBe(false)
})
