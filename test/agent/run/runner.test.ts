/** Turns from start to result: the real `command` adapter, a real event log, a folder as the workspace. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { command } from '../../../agent/adapters/command.ts'
import { EventLog } from '../../../agent/events/log.ts'
import { directoriesOf } from '../../../agent/run/environment.ts'
import { Runner, type RunnerOptions } from '../../../agent/run/runner.ts'
import { Stop } from '../../../agent/run/stop.ts'
import { runTurn } from '../../../agent/run/turn.ts'
import type { TurnWorkspace } from '../../../agent/workspace/turn-workspace.ts'
import { AgentEvent, type EventBody, type RunResult } from '../../../protocol/event.ts'
import type { RunSpec } from '../../../protocol/run.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'
import { specOf } from './run-spec.ts'

interface Placement {
  work: string
  /** Runs a turn to its end. */
  turn(spec?: Partial<RunSpec>): Promise<RunResult | undefined>
  events(): Promise<AgentEvent[]>
}

function startPlacement(
  overrides: { workspace?: Partial<TurnWorkspace>; runner?: Partial<RunnerOptions> } = {},
): Placement {
  const directories = directoriesOf(temporaryDirectory())
  for (const path of Object.values(directories)) mkdirSync(path, { recursive: true })
  const log = new EventLog({ directory: directories.state })
  onTestFinished(() => log.close())
  const runner = new Runner({
    log,
    base: { own: process.env, directories, taskId: 'task', launchId: 'launch' },
    user: undefined,
    adapterOf: () => command,
    workspaceOf: () => ({ ...folderWorkspace(directories.work), ...overrides.workspace }),
    saveArtifacts: async () => {},
    onBegin: () => {},
    ...overrides.runner,
  })
  onTestFinished(async () => {
    runner.stop({ outcome: 'cancelled', reason: 'user', message: 'the test is over' })
    await runner.idle()
  })
  return {
    work: directories.work,
    async turn(spec = {}) {
      runner.begin(specOf({ turn: runner.status.turn + 1, ...spec }))
      await runner.idle()
      return runner.status.result
    },
    async events() {
      let text = ''
      for await (const piece of log.read(0, { follow: false, signal: new AbortController().signal })) text += piece
      const lines = text.split('\n').filter((line) => line !== '')
      return lines.map((line) => AgentEvent.parse(JSON.parse(line)))
    },
  }
}

/** Its files are the result. */
const folderWorkspace = (work: string): TurnWorkspace => ({
  prepare: async () => [],
  async checkpoint() {
    return undefined
  },
  async saveResult() {
    return {
      commit: 'c0ffee',
      filesChanged: readdirSync(work).length,
      insertions: 0,
      deletions: 0,
      warnings: [],
      withheld: [],
    }
  },
})

const shell = (script: string): Partial<RunSpec> => ({ command: ['sh', '-c', script] })

const told = (events: readonly AgentEvent[], step: string): string =>
  events.flatMap((event) => (event.type === 'output' && event.step === step ? [event.text] : [])).join('')

const stepsOf = (events: readonly AgentEvent[]): string[] =>
  events.flatMap((event) =>
    event.type === 'step' && event.status === 'started' ? [`${event.turn} ${event.step}`] : [],
  )

test('a secret of 100,000 characters is no reason to fail, and is masked', async () => {
  const placement = startPlacement()
  const secret = Array.from({ length: 10_000 }, (_, n) => `${n}`.padStart(9, '#')).join('-')
  // The environment takes no value this long twice: it comes as a file would, in the prompt.
  const result = await placement.turn({ prompt: `take ${secret}`, secrets: { LONG: secret } })
  expect(result).toMatchObject({ outcome: 'succeeded' })
  expect(await placement.events()).toContainEqual(expect.objectContaining({ type: 'turn_started', prompt: 'take ***' }))
})

test('whatever throws, the turn ends with a result that says so, and the next one can begin', async () => {
  let isBroken = true
  const placement = startPlacement({
    runner: {
      adapterOf: () => {
        if (isBroken) throw new Error('no adapter for hunter2-hunter2')
        return command
      },
    },
  })
  const result = await placement.turn({ secrets: { KEY: 'hunter2-hunter2' } })
  expect(result).toMatchObject({
    outcome: 'failed',
    reason: 'internal',
    message: 'the agent failed: no adapter for ***',
    incomplete: true,
  })
  expect((await placement.events()).at(-1)).toMatchObject({ type: 'turn_ended', result })
  isBroken = false
  expect(await placement.turn()).toMatchObject({ outcome: 'succeeded' })
})

test('a turn whose checkpoint fails at its end, and cannot even be told to have failed, has its result', async () => {
  const work = temporaryDirectory()
  const result = await runTurn({
    spec: { ...specOf(shell('while [ ! -e checkpoint ]; do sleep 0.02; done')), checkpointSeconds: 0.02 },
    adapter: command,
    workspace: {
      ...folderWorkspace(work),
      async checkpoint() {
        mkdirSync(join(work, 'checkpoint'))
        await new Promise((resolve) => setTimeout(resolve, 500)) // the command has ended by then
        throw new Error('no space')
      },
    },
    isPrepared: false,
    onPrepared: () => {},
    env: { PATH: process.env.PATH ?? '' },
    cwd: work,
    home: work,
    user: undefined,
    stop: new Stop(),
    async emit(event: EventBody) {
      if (event.type === 'warning') throw new Error('the log is gone')
    },
    saveArtifacts: async () => {},
  })
  expect(result).toMatchObject({ outcome: 'succeeded' })
})

test('a secret that a command prints in two halves is masked', async () => {
  const placement = startPlacement()
  await placement.turn({
    ...shell('printf "key sk-1234"; sleep 0.3; printf "5678, task"'),
    setup: 'printf sk-; sleep 0.3; printf "12345678 sk-" >&1',
    secrets: { KEY: 'sk-12345678' },
  })
  const events = await placement.events()
  expect(told(events, 'agent')).toBe('key ***, task')
  expect(told(events, 'setup')).toBe('*** sk-')
  const last = events.findLastIndex((event) => event.type === 'output' && event.step === 'agent')
  const done = events.findIndex((event) => event.type === 'step' && event.step === 'agent' && event.status === 'done')
  expect(last).toBeLessThan(done)
})

test('work that could not be saved is no success', async () => {
  const saveResult = () => Promise.reject(new Error('the gateway refused the push'))
  const placement = startPlacement({ workspace: { saveResult } })
  expect(await placement.turn()).toMatchObject({
    outcome: 'failed',
    reason: 'workspace',
    message: expect.stringContaining('the gateway refused the push'),
    incomplete: true,
    exitCode: 0,
  })
  expect(await placement.turn(shell('exit 3'))).toMatchObject({ outcome: 'failed', reason: 'exit_code' })
  expect(await placement.turn({ workspace: { kind: 'none' } })).toMatchObject({
    outcome: 'succeeded',
    incomplete: true,
  })
})

test('artifacts that could not be saved leave the success, and say so', async () => {
  const saveArtifacts = () => Promise.reject(new Error('too large'))
  expect(await startPlacement({ runner: { saveArtifacts } }).turn()).toMatchObject({
    outcome: 'succeeded',
    message: expect.stringContaining('too large'),
    incomplete: true,
  })
})

test('a plain command may be silent for longer than the idle limit', async () => {
  const placement = startPlacement()
  const result = await placement.turn({ ...shell('sleep 1.4'), limits: { idleSeconds: 1 } })
  expect(result).toMatchObject({ outcome: 'succeeded' })
})

test('only the coding agent is watched: a workspace and a setup may take their time', async () => {
  const prepare = () => new Promise<string[]>((resolve) => setTimeout(() => resolve(['libs/x is not here']), 1_200))
  const placement = startPlacement({ workspace: { prepare } })
  const coding = { agent: 'claude', prompt: 'x', limits: { idleSeconds: 1 } } as const
  const result = await placement.turn({ ...coding, setup: 'sleep 1.2', ...shell('echo > made; echo hello') })
  expect(result).toMatchObject({ outcome: 'succeeded' })
  expect(await placement.events()).toContainEqual(
    expect.objectContaining({ type: 'warning', message: 'libs/x is not here' }),
  )
  const silent = await placement.turn({ ...coding, ...shell('exec sleep 300') })
  expect(silent).toMatchObject({ outcome: 'timeout', reason: 'idle' })
})

test('a later turn prepares what an earlier one could not, and not what one could', async () => {
  const prepared: number[] = []
  const prepare = async () => {
    prepared.push(prepared.length + 1)
    if (prepared.length === 1) throw new Error('no route to the gateway')
    return []
  }
  const placement = startPlacement({ workspace: { prepare } })
  const setup = '[ -e once ] || { touch once; exit 1; }'
  expect(await placement.turn({ setup })).toMatchObject({ outcome: 'failed', reason: 'workspace' })
  expect(await placement.turn({ setup })).toMatchObject({ outcome: 'failed', reason: 'setup' })
  expect(existsSync(join(placement.work, 'once'))).toBe(true)
  expect(await placement.turn({ setup })).toMatchObject({ outcome: 'succeeded' })
  expect(await placement.turn({ setup })).toMatchObject({ outcome: 'succeeded' })
  expect(prepared).toEqual([1, 2, 3])
  expect(stepsOf(await placement.events()).filter((step) => step.endsWith('setup'))).toEqual(['2 setup', '3 setup'])
})
