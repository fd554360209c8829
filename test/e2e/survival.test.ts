/** What it survives: real processes, killed at bad moments. */
import { resolve } from 'node:path'
import { build } from 'esbuild'
import { beforeAll, describe, expect, test } from 'vitest'
import { bash, say, steps } from '../../demo/model-server.ts'
import { FINISH_STEPS } from '../../gateway/tasks/context.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { bundling } from '../../scripts/bundling.mjs'
import { eventually } from '../helpers/eventually.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { MODEL_KEY, startWorld, World } from '../helpers/world.ts'

const shell = (script: string): Partial<CreateTaskInput> => ({ agent: 'command', command: ['sh', '-c', script] })

async function start(world: World, spec: Partial<CreateTaskInput>): Promise<Task> {
  const task = await world.createTask({ workspace: { kind: 'snapshot' }, ...spec })
  if (task.spec.workspace.kind === 'snapshot') await uploadFiles(world, task.id, { 'hello.txt': 'hello\n' })
  return task
}

const pidOf = (task: Task): number => (task.state === 'running' ? Number(task.placement.handle) : 0)

/** Bundled like the gateway itself, where it finds better-sqlite3; outside dist/, which is what users get. */
async function buildGatewayKilledAt(): Promise<string> {
  const outfile = resolve('node_modules/.cache/rclaude-test/gateway-killed-at.mjs')
  await build({
    entryPoints: ['test/helpers/gateway-killed-at.ts'],
    outfile,
    ...bundling,
    define: { __RCLAUDE_VERSION__: '"test"' },
    logLevel: 'warning',
  })
  return outfile
}

/** Text that the command printed, in order; a repetition or a hole shows. */
async function printed(world: World, taskId: string): Promise<string> {
  const events = await world.events(taskId)
  expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1))
  return events.flatMap((event) => (event.type === 'output' && event.step === 'agent' ? [event.text] : [])).join('')
}

const printing = (text: string, world: World, taskId: string) =>
  eventually(`it prints ${text}`, async () => (await printed(world, taskId)).includes(text))

test('a gateway that is killed in the middle of a run takes it up again: complete, and nothing twice', async () => {
  const world = await startWorld()
  const { id } = await start(
    world,
    shell('for i in $(seq 40); do echo line $i; sleep 0.1; done; echo done > hello.txt'),
  )
  await printing('line 5\n', world, id)
  await world.killGateway()
  await world.startGateway()
  await printing('line 20\n', world, id)
  await world.killGateway()
  await world.startGateway()
  const task = await world.ended(id)
  expect(task).toMatchObject({ outcome: 'succeeded', incomplete: false })
  expect(await printed(world, id)).toBe(Array.from({ length: 40 }, (_, n) => `line ${n + 1}\n`).join(''))
})

test('an exit code that was produced while there was no gateway arrives', async () => {
  const world = await startWorld()
  const { id } = await start(world, shell('echo begun; sleep 1; echo late; exit 9'))
  const task = await world.state(id, 'running')
  await printing('begun', world, id)
  await world.killGateway()
  await eventually(
    'the command has ended',
    () => !world.commands().some((command) => command.startsWith('sh -c echo begun')),
  )
  expect(pidOf(task)).toBeGreaterThan(0)
  await world.startGateway()
  const ended = await world.ended(id)
  expect(ended).toMatchObject({ outcome: 'failed', reason: 'exit_code' })
  expect(ended.turns.at(-1)?.result?.exitCode).toBe(9)
  expect(await printed(world, id)).toBe('begun\nlate\n')
})

test('a real Claude Code goes on while the gateway is away', async () => {
  const world = await startWorld({
    script: steps(bash('echo one >> hello.txt; sleep 2'), bash('echo two >> hello.txt'), say('Both done.')),
  })
  const { id } = await start(world, { prompt: 'do it' })
  await eventually('the tool runs', () => world.commands().some((command) => command.startsWith('sleep 2')))
  await world.killGateway()
  await world.startGateway()
  const task = await world.ended(id)
  expect(task).toMatchObject({ outcome: 'succeeded' })
  const said = (await world.events(id)).filter(
    (event) => event.type === 'session_update' && event.update.sessionUpdate === 'agent_message_chunk',
  )
  expect(said).toHaveLength(1)
  expect(task.turns[0]?.result).toMatchObject({ filesChanged: 1, summary: 'Both done.' })
})

describe('a gateway that is killed before a step of finishing', () => {
  let script = ''
  beforeAll(async () => {
    script = await buildGatewayKilledAt()
  })

  test.each(FINISH_STEPS)('%s: finishes after its restart, with everything and nothing twice', async (step) => {
    const world = new World({ KILL_AT: step })
    world.gatewayArgv = [script, world.data]
    await startWorld({ world })
    const { id } = await start(world, shell('echo changed > hello.txt; echo said'))
    await world.gatewayGone()
    delete world.settings.KILL_AT
    world.gatewayArgv = undefined
    await world.startGateway()
    const task = await world.ended(id)
    expect(task).toMatchObject({ outcome: 'succeeded', reason: 'completed', incomplete: false })
    expect(await patchOf(world, id)).toMatch(/^\+changed$/m)
    expect(await printed(world, id)).toBe('said\n')
    const events = await world.events(id)
    expect(events.filter((event) => event.type === 'turn_ended')).toHaveLength(1)
    expect(events.filter((event) => event.type === 'state' && event.state === 'ended')).toHaveLength(1)
    expect(world.commands().filter((command) => command.includes('agent.js'))).toEqual([])
  })
})

test('killed during the launch, the gateway ends up with one agent and the task completes', async () => {
  const world = await startWorld()
  for (const afterMs of [0, 5, 15, 40]) {
    const { id } = await start(world, shell('echo once >> hello.txt'))
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    await world.killGateway()
    await world.startGateway()
    const task = await world.ended(id)
    expect(task, `killed ${afterMs} ms after the upload`).toMatchObject({ outcome: 'succeeded' })
    expect(await patchOf(world, id)).toMatch(/^\+once$/m)
    expect(await patchOf(world, id)).not.toMatch(/^\+once\n\+once$/m)
  }
})

test('an agent that is killed is lost: nothing is left running, and the last checkpoint is there', async () => {
  const world = await startWorld({ settings: { RCLAUDE_INTERVALS__CHECKPOINT: '1s' } })
  const { id } = await start(world, shell('echo saved > hello.txt; (setsid sleep 301 &); sleep 300'))
  await eventually('a checkpoint', async () => (await world.getTask(id)).workspace.checkpoint)
  process.kill(pidOf(await world.getTask(id)), 'SIGKILL')
  const task = await world.ended(id)
  expect(task).toMatchObject({ outcome: 'lost', reason: 'placement_gone', incomplete: true })
  expect(world.commands().filter((command) => command.startsWith('sleep'))).toEqual([])
  expect(await patchOf(world, id)).toMatch(/^\+saved$/m)
  expect(task.turns[0]?.result).toMatchObject({ filesChanged: 1, incomplete: true })
})

test('a lost conversation is continued from its last checkpoint and remembers', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_INTERVALS__CHECKPOINT: '1s' },
    script: (conversation) => {
      if (conversation.prompt.includes('go on')) {
        if (conversation.calls.length === 0) return bash('cat hello.txt && echo continued >> hello.txt')
        return say(`I remember: ${conversation.prompts.join(' / ')}`)
      }
      return conversation.calls.length === 0 ? bash('echo first >> hello.txt') : bash("sh -c 'sleep 300'")
    },
  })
  const { id } = await start(world, { prompt: 'begin the work' })
  await eventually('a checkpoint of the work with its session', async () => {
    const { checkpoint, sessionId } = (await world.getTask(id)).workspace
    return checkpoint !== undefined && sessionId !== undefined && (await patchOf(world, id)).includes('+first')
  })
  await eventually('the second tool runs', () => world.commands().some((one) => one.startsWith('sleep 300')))
  process.kill(pidOf(await world.getTask(id)), 'SIGKILL')
  expect(await world.ended(id)).toMatchObject({ outcome: 'lost' })
  await world.api().call(routes.continueTask, {
    params: { taskId: id },
    body: { prompt: 'go on', secrets: { ANTHROPIC_API_KEY: MODEL_KEY } },
  })
  const task = await eventually(
    'the second turn has ended',
    async () => {
      const now = await world.getTask(id)
      return now.state === 'ended' && now.turns.length === 2 && now
    },
    30_000,
  )
  expect(task).toMatchObject({ outcome: 'succeeded' })
  expect(task.turns[1]?.result?.summary).toBe('I remember: begin the work / go on')
  expect(await patchOf(world, id)).toMatch(/^\+first\n\+continued$/m)
})

test('a task goes on when its workspace is delivered and nobody is connected any more', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__MAX_TASKS: '1' } })
  const first = await start(world, shell('sleep 2'))
  const second = await start(world, shell('echo alone > hello.txt'))
  expect(await world.getTask(second.id)).toMatchObject({ state: 'queued', waitingFor: 'launch' })
  await world.killGateway() // whoever had it open is gone for certain
  await world.startGateway()
  expect(await world.ended(first.id)).toMatchObject({ outcome: 'succeeded' })
  expect(await world.ended(second.id)).toMatchObject({ outcome: 'succeeded' })
})

test('a stop that comes during the launch leaves nothing running', async () => {
  const world = await startWorld()
  const { id } = await start(world, shell('sleep 300'))
  const stopped = await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  expect(stopped.state).not.toBe('ended')
  expect(await world.ended(id)).toMatchObject({ outcome: 'cancelled', reason: 'user' })
  expect(world.commands().filter((command) => command.includes('agent.js'))).toEqual([])
})

test('a second gateway on the same data folder is refused and the first goes on', async () => {
  const world = await startWorld()
  const rival = await world.runGateway()
  expect(rival.code).toBe(75)
  expect(rival.stderr).toMatch(/another gateway is running on/)
  expect((await fetch(`${world.url}/healthz`)).status).toBe(200)
})

test('an agent whose gateway is gone for good stops its work and exits', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__MAX_OFFLINE: '2s' } })
  const { id } = await start(world, shell('sleep 300'))
  await world.state(id, 'running')
  await eventually('it works', () => world.commands().some((command) => command.startsWith('sleep 300')))
  await world.killGateway()
  await eventually('nothing runs', () => world.processes().length === 0, 45_000)
  await world.startGateway()
  const task = await world.ended(id)
  expect(['lost', 'interrupted']).toContain(task.outcome)
}, 60_000)

async function patchOf(world: World, taskId: string): Promise<string> {
  return (await world.api().raw(routes.patch, { params: { taskId } })).text()
}
