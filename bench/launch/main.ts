/**
 * From the request to the model's first words: a task on each launcher that is there, beside the bare `claude -p` that it runs.
 * Run in turn against one model on loopback that answers at once; prints p50 and p95 of each, and where the time goes.
 *
 *     npm run bench:launch -- [RUNS] [--config FILE]     a gateway with these launchers instead of the local one
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { say, startModelServer } from '../../demo/model-server.ts'
import type { TaskEvent } from '../../protocol/event.ts'
import { routes } from '../../protocol/routes.ts'
import { startBenchGateway } from '../gateway.ts'
import { machineLine } from '../tunnel/machine.ts'
import { type Case, interleave, median, percentile } from '../tunnel/stats.ts'

const { positionals, values } = parseArgs({ allowPositionals: true, options: { config: { type: 'string' } } })
const RUNS = Number(positionals[0] ?? 10)
const BARE = 'claude -p'
/** More than the bare program: the goal for launchers without a machine of their own. */
const REACH_MS = 500

const model = await startModelServer({ script: () => say('hello') })
const environment = { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: 'sk-ant-bench' }

/** Milliseconds to the first words of the model. */
async function bareClaude(): Promise<number> {
  const home = mkdtempSync(join(tmpdir(), 'rclaude-bench-home-'))
  const begun = performance.now()
  const claude = spawn(resolve('node_modules/.bin/claude'), ['-p', '--output-format', 'stream-json', '--verbose'], {
    cwd: home,
    env: { PATH: process.env.PATH ?? '', HOME: home, ...environment },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  claude.stdin.end('say hello')
  const ended = new Promise((done) => claude.once('exit', done))
  let firstMs: number | undefined
  for await (const line of createInterface({ input: claude.stdout }))
    if (firstMs === undefined && line.includes('"type":"assistant"')) firstMs = performance.now() - begun
  await ended
  rmSync(home, { recursive: true, force: true })
  if (firstMs === undefined) throw new Error('claude -p said nothing')
  return firstMs
}

const PHASES = ['machine asked for', 'agent connected', 'turn begun', 'coding agent started', 'first words'] as const
type Phases = Partial<Record<(typeof PHASES)[number], number>>

function phaseOf(event: TaskEvent): (typeof PHASES)[number] | undefined {
  if (event.type === 'state' && event.state === 'starting') return 'machine asked for'
  if (event.type === 'state' && event.state === 'running') return 'agent connected'
  if (event.type === 'turn_started') return 'turn begun'
  if (event.type === 'step' && event.step === 'agent' && event.status === 'started') return 'coding agent started'
  if (event.type === 'session_update') return 'first words'
  return undefined
}

const gateway = await startBenchGateway(values.config)

/** When each phase was over, in milliseconds since the request, as this client saw it. */
async function task(launcher: string): Promise<Phases> {
  const begun = performance.now()
  const { id } = await gateway.api.call(routes.createTask, {
    body: { prompt: 'say hello', workspace: { kind: 'none' }, launcher, secrets: environment },
  })
  const seen: Phases = {}
  for await (const event of gateway.api.events(id, { follow: true })) {
    const phase = phaseOf(event)
    if (phase !== undefined) seen[phase] ??= performance.now() - begun
  }
  if (PHASES.some((phase) => seen[phase] === undefined)) throw new Error(`${id} said only ${Object.keys(seen)}`)
  return seen
}

try {
  const launchers = (await gateway.api.call(routes.info, {})).launchers.map(({ name }) => name)
  const alone: Case<Phases> = { name: BARE, run: async () => ({ 'first words': await bareClaude() }) }
  const cases = [alone, ...launchers.map((name) => ({ name, run: () => task(name) }))]
  const samples = await interleave(cases, RUNS, new AbortController().signal)
  console.log(`${machineLine()}\n${RUNS} runs, milliseconds from request to the model's first words`)
  console.log(`${''.padEnd(22)}${'p50'.padStart(8)}${'p95'.padStart(8)}  over ${BARE}`)
  const row = (name: string, values: number[], rest = '') => {
    const cells = [median(values), percentile(values, 95)].map((value) => value.toFixed(0).padStart(8))
    console.log(`${name.padEnd(22)}${cells.join('')}${rest}`)
  }
  const wordsOf = (name: string) => (samples.get(name) ?? []).map((one) => one['first words'] ?? Number.NaN)
  row(BARE, wordsOf(BARE))
  for (const launcher of launchers) {
    const over = median(wordsOf(launcher)) - median(wordsOf(BARE))
    row(launcher, wordsOf(launcher), `  ${over.toFixed(0)}${launcher === 'process' && over > REACH_MS ? '  MISS' : ''}`)
    PHASES.forEach((phase, index) => {
      const before = PHASES[index - 1]
      const seen = samples.get(launcher) ?? []
      row(
        `  ${phase}`,
        seen.map((one) => (one[phase] ?? Number.NaN) - (before === undefined ? 0 : (one[before] ?? Number.NaN))),
      )
    })
  }
} finally {
  await gateway.close()
  await model.close()
}
