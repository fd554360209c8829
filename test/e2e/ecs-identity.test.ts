/**
 * Who may come in as the agent of a task on ECS: who dials from that very task, once ECS says that it runs. A thief has what
 * `ecs:DescribeTasks` shows to whoever may call it: the environment of the container, with the join code.
 */
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { AGENT_ENV, DIAL_HEADERS } from '../../protocol/run.ts'
import { UpgradeRefused } from '../../tunnel/errors.ts'
import { newCanary, sightings } from '../helpers/canaries.ts'
import type { Fault } from '../helpers/ecs/faults.ts'
import { startEcsGateway } from '../helpers/ecs/gateway.ts'
import { eventually } from '../helpers/eventually.ts'
import { type DialAs, dialAs, newCredential } from '../helpers/stub-gateway.ts'

interface SceneOptions {
  agent: 'real' | 'asleep'
  fault?: Fault
  command?: string[]
  /** Of `launchers.ecs`. */
  section?: object
}

async function scene({ agent, fault, command = ['true'], section = {} }: SceneOptions) {
  const vouched: string[] = []
  const { ecs, gateway } = await startEcsGateway({
    agent,
    section,
    wrap: (launcher) => ({
      ...launcher,
      async vouch(placement, claim) {
        const word = (await launcher.vouch?.(placement, claim)) ?? 'no'
        vouched.push(word)
        return word
      },
    }),
  })
  if (fault) ecs.faults.next('RunTask', fault)
  const secret = newCanary('secret')
  const create = (command: string[]) =>
    gateway.api.call(routes.createTask, {
      body: { agent: 'command', command, workspace: { kind: 'none' }, secrets: { CANARY: secret } },
    })
  const { id } = await create(command)
  const task = () => gateway.getTask(id)
  const ended = () =>
    eventually('it has ended', async () => {
      const now = await task()
      return now.state === 'ended' && now
    })
  /** What may be read of the n-th launch by whoever may describe tasks. */
  const stolen = async (n = 0): Promise<DialAs & { arn: string }> => {
    const { arn, options } = await eventually('it is bought', () => ecs.tasks()[n])
    const pairs = options.request.overrides?.containerOverrides?.[0]?.environment ?? []
    const variable = (wanted: string) => pairs.find(({ name }) => name === wanted)?.value ?? ''
    await eventually(
      'its launch is stored',
      async () => (await gateway.getTask(variable(AGENT_ENV.taskId))).state === 'starting',
    )
    return {
      arn,
      taskId: variable(AGENT_ENV.taskId),
      launchId: variable(AGENT_ENV.launchId),
      joinCode: variable(AGENT_ENV.joinCode),
      credential: newCredential(),
    }
  }
  /** Dials, and hears all that the gateway says: the answer, or, when it is let in, what it is asked. */
  const dial = async (who: DialAs, machine?: string) => {
    const heard: string[] = []
    try {
      const tunnel = await dialAs(
        gateway,
        { ...who, ...(machine !== undefined && { headers: { [DIAL_HEADERS.machine]: machine } }) },
        (request, response) => {
          heard.push(`${request.method} ${request.url}`)
          request.on('data', (chunk: Buffer) => heard.push(chunk.toString()))
          if (request.url !== '/run') return false
          const hasNothingToDo = { turn: 0, phase: 'idle', lastAgentSeq: 0 }
          response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(hasNothingToDo))
          return true
        },
      )
      return { status: 101, heard, tunnel }
    } catch (error) {
      if (!(error instanceof UpgradeRefused)) throw error
      heard.push(error.body, JSON.stringify(error.headers))
      return { status: error.status, heard }
    }
  }
  const running = (n = 0) => eventually('it runs', () => ecs.tasks()[n]?.status === 'RUNNING')
  const sees = (heard: string[]) => sightings({ secret }, 'heard', heard.join('\n'))
  return { ecs, gateway, create, task, ended, stolen, dial, running, sees, vouched }
}

test('the agent in the task is let in by its TaskARN, and ECS is asked for it once', async () => {
  const { ended, vouched } = await scene({ agent: 'real' })
  expect(await ended()).toMatchObject({ outcome: 'succeeded' })
  expect(vouched.filter((word) => word === 'yes')).toHaveLength(1)
  expect(vouched).not.toContain('no')
})

test.each<[string, Fault]>([
  ['runs before ECS shows that it does', { kind: 'shown-late', ms: 1_200 }],
  ['dials before ECS shows it at all', { kind: 'missing', ms: 1_200 }],
])('an agent that %s comes again until it is', async (_, fault) => {
  const { ended, vouched } = await scene({ agent: 'real', fault })
  expect(await ended()).toMatchObject({ outcome: 'succeeded' })
  expect(vouched[0]).toBe('not_yet')
  expect(vouched.at(-1)).toBe('yes')
})

test.each([
  ['says that it is on another machine', 'arn:aws:ecs:eu-central-1:999999999999:task/x/1'],
  ['does not say where it is', undefined],
])('who comes with a stolen join code and %s is told nothing, and the task is stopped', async (_, machine) => {
  const { ecs, gateway, stolen, dial, running, ended, sees } = await scene({ agent: 'asleep' })
  const thief = await stolen()
  await running()
  const { status, heard } = await dial(thief, machine)
  expect(status).toBe(401)
  expect(await ended()).toMatchObject({
    outcome: 'cancelled',
    message: 'its join code was used from another machine',
    stopRequested: { by: 'gateway' },
  })
  expect(gateway.log()).toContain(`came with the join code of ${thief.arn}`)
  expect(ecs.tasks().map((one) => one.status)).toEqual(['STOPPED'])
  // Its credential is bound to the launch, and is worth nothing all the same.
  const { joinCode: _code, ...again } = thief
  const later = await dial(again, thief.arn)
  expect(later.status).toBe(410)
  expect(sees([...heard, ...later.heard])).toEqual([])
})

test('a task of the same gateway is no other one: its agent with the join code of a second task is refused', async () => {
  const { gateway, create, stolen, dial, running, sees } = await scene({ agent: 'asleep' })
  await create(['true'])
  const [first, second] = [await stolen(0), await stolen(1)]
  await running(0)
  await running(1)
  const { status, heard } = await dial(second, first.arn)
  expect(status).toBe(401)
  expect(sees(heard)).toEqual([])
  expect((await gateway.getTask(second.taskId)).stopRequested).toMatchObject({ by: 'gateway' })
  expect((await gateway.getTask(first.taskId)).stopRequested).toBeUndefined()
})

test('who comes before the machine runs waits in vain, and the agent that comes then raises the alarm', async () => {
  const { stolen, dial, running, ended, sees, vouched } = await scene({
    agent: 'real',
    fault: { kind: 'no-capacity', ms: 1_000 },
  })
  const thief = await stolen()
  const { status, heard } = await dial(thief, thief.arn)
  expect([status, vouched]).toEqual([503, ['not_yet']])
  expect(sees(heard)).toEqual([])
  await running()
  expect(await ended()).toMatchObject({ outcome: 'cancelled', message: 'its join code was used by a second agent' })
})

test('27: a join code works once, for its own launch: a replay after the agent is in stops the task', async () => {
  const { ecs, create, gateway, stolen, dial, ended, sees } = await scene({ agent: 'real', command: ['sleep', '600'] })
  const other = await create(['sleep', '600'])
  const [thief, second] = [await stolen(0), await stolen(1)]
  for (const id of [thief.taskId, second.taskId])
    await eventually('its agent is in', async () => (await gateway.getTask(id)).state === 'running')
  const elsewhere = await dial({ ...second, joinCode: thief.joinCode ?? '' }, second.arn)
  expect(elsewhere.status).toBe(401)
  expect((await gateway.getTask(other.id)).stopRequested).toBeUndefined() // a guess is no alarm
  const { status, heard } = await dial(thief, thief.arn)
  expect(status).toBe(401)
  expect(await ended()).toMatchObject({ outcome: 'cancelled', message: 'its join code was used by a second agent' })
  expect(ecs.tasks().map((one) => one.status)).toEqual(['STOPPED', 'RUNNING'])
  expect(sees([...heard, ...elsewhere.heard])).toEqual([])
})

test('a machine that has ended has no agent: its name opens nothing', async () => {
  const { ecs, stolen, dial, running, ended, sees } = await scene({ agent: 'asleep' })
  const thief = await stolen()
  await running()
  ecs.tasks()[0]?.stop('UserInitiated', 'by hand')
  await eventually('it is stopped', () => ecs.tasks()[0]?.status === 'STOPPED')
  const { status, heard } = await dial(thief, thief.arn)
  expect([401, 410]).toContain(status) // 410 when the gateway had seen the end before
  expect(sees(heard)).toEqual([])
  expect((await ended()).outcome).not.toBe('succeeded')
})

test('while ECS does not answer the agent is told to come again, is not late for it, and then is let in', async () => {
  const { ecs, gateway, stolen, dial, running, task, sees, vouched } = await scene({
    agent: 'asleep',
    section: { deadlines: { launch: 60, dial: 1 } },
  })
  const agent = await stolen()
  await running()
  ecs.faults.denied.add('DescribeTasks')
  const { status, heard } = await dial(agent, agent.arn)
  expect(status).toBe(503)
  expect(sees(heard)).toEqual([])
  expect(gateway.log()).toContain('the launcher does not say whether this is the agent')
  expect(await task()).toMatchObject({ state: 'starting' })
  await eventually('its time to dial is over', () => Date.now() > (ecs.tasks()[0]?.startedAt ?? 0) + 1_100)
  ecs.faults.denied.delete('DescribeTasks')
  const before = ecs.calls.length
  await eventually('the reconciler has looked at it again', () => ecs.calls.length > before + 2)
  expect(await task()).toMatchObject({ state: 'starting' })
  const inside = await dial(agent, agent.arn)
  expect(inside.status).toBe(101)
  await eventually('it is given its work', () => sees(inside.heard).length > 0)
  // From now on its credential is enough.
  const asked = vouched.length
  const { joinCode: _, ...again } = agent
  expect((await dial(again)).status).toBe(101)
  expect(vouched).toHaveLength(asked)
})
