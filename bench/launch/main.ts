/**
 * From the request to the model's first words: a task on each launcher that is there, beside the bare `claude -p` that it runs,
 * for docker in a bare container of the same image. Run in turn against one model on loopback that answers at once; prints p50
 * and p95 of each, and where the time goes. Containers share this machine's network; their engine is this machine's, or one
 * that is started for the bench (root, /usr/sbin/dockerd).
 *
 *     npm run bench:launch -- [RUNS] [--config FILE]     a gateway with these launchers instead of process and docker
 */
import { realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { say, startModelServer } from '../../demo/model-server.ts'
import type { TaskEvent } from '../../protocol/event.ts'
import { routes } from '../../protocol/routes.ts'
import { startDockerEngine } from '../../test/helpers/docker-engine.ts'
import { importImages, WORK_USER } from '../../test/helpers/docker-images.ts'
import { type BenchGateway, startBenchGateway } from '../gateway.ts'
import { machineLine } from '../tunnel/machine.ts'
import { type Case, interleave, median, percentile } from '../tunnel/stats.ts'
import { bareClaude, bareContainer } from './bare.ts'

const { positionals, values } = parseArgs({ allowPositionals: true, options: { config: { type: 'string' } } })
const RUNS = Number(positionals[0] ?? 10)
const BARE = 'claude -p'
const BARE_CONTAINER = 'docker run claude -p'
/** What a launcher's task is measured by, and may take longer than by this. */
const PEER: Record<string, string> = { process: BARE, docker: BARE_CONTAINER }
const REACH_MS = 500
const CLAUDE = realpathSync('node_modules/.bin/claude')

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

type Secrets = Record<string, string>

/** When each phase was over, in milliseconds since the request, as this client saw it. */
async function task({ api }: BenchGateway, launcher: string, secrets: Secrets): Promise<Phases> {
  const begun = performance.now()
  const { id } = await api.call(routes.createTask, {
    body: { prompt: 'say hello', workspace: { kind: 'none' }, launcher, secrets },
  })
  const seen: Phases = {}
  for await (const event of api.events(id, { follow: true })) {
    const phase = phaseOf(event)
    if (phase !== undefined) seen[phase] ??= performance.now() - begun
  }
  if (PHASES.some((phase) => seen[phase] === undefined)) throw new Error(`${id} said only ${Object.keys(seen)}`)
  return seen
}

/** Settings of the gateway, and the bare container beside it; none where there is no engine. */
async function dockerOf(environment: Secrets) {
  const engine = await startDockerEngine()
  if (typeof engine === 'string') {
    console.log(`docker is not measured: ${engine}`)
    return undefined
  }
  const images = importImages(engine, `bench-${process.pid}`, { claude: CLAUDE })
  const settings = {
    RCLAUDE_LAUNCHERS__DOCKER__HOST: engine.host,
    RCLAUDE_LAUNCHERS__DOCKER__IMAGE: images.agent,
    RCLAUDE_LAUNCHERS__DOCKER__NETWORK: 'host',
    RCLAUDE_LAUNCHERS__DOCKER__PULL: 'never',
  }
  const container = { image: images.agent, user: String(WORK_USER.id) }
  const run = async () => ({ 'first words': await bareContainer(engine.docker, container, environment) })
  const close = async () => {
    images.remove()
    await engine.close()
  }
  return { settings, bare: { name: BARE_CONTAINER, run } satisfies Case<Phases>, close }
}

async function measure(gateway: BenchGateway, bare: Array<Case<Phases>>, secrets: Secrets): Promise<void> {
  const launchers = (await gateway.api.call(routes.info, {})).launchers.map(({ name }) => name)
  const tasks = launchers.map((name) => ({ name, run: () => task(gateway, name, secrets) }))
  const samples = await interleave([...bare, ...tasks], RUNS, new AbortController().signal)
  const wordsOf = (name: string) => (samples.get(name) ?? []).map((one) => one['first words'] ?? Number.NaN)
  console.log(`${machineLine()}\n${RUNS} runs, milliseconds from request to the model's first words`)
  console.log(`${''.padEnd(22)}${'p50'.padStart(8)}${'p95'.padStart(8)}  over the bare one`)
  for (const { name } of bare) printRow(name, wordsOf(name))
  for (const launcher of launchers) {
    const peer = PEER[launcher] ?? BARE
    const over = median(wordsOf(launcher)) - median(wordsOf(peer))
    const missed = launcher in PEER && over > REACH_MS ? '  MISS' : ''
    printRow(launcher, wordsOf(launcher), `  ${over.toFixed(0)} over ${peer}${missed}`)
    const seen = samples.get(launcher) ?? []
    PHASES.forEach((phase, index) => {
      const before = PHASES[index - 1]
      const begun = (one: Phases) => (before === undefined ? 0 : (one[before] ?? Number.NaN))
      printRow(
        `  ${phase}`,
        seen.map((one) => (one[phase] ?? Number.NaN) - begun(one)),
      )
    })
  }
}

function printRow(name: string, samples: number[], rest = ''): void {
  const cells = [median(samples), percentile(samples, 95)].map((value) => value.toFixed(0).padStart(8))
  console.log(`${name.padEnd(22)}${cells.join('')}${rest}`)
}

const model = await startModelServer({ script: () => say('hello') })
const environment = { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: 'sk-ant-bench' }
const docker = values.config === undefined ? await dockerOf(environment) : undefined
const gateway = await startBenchGateway(values.config, docker?.settings)
const alone: Case<Phases> = {
  name: BARE,
  run: async () => ({ 'first words': await bareClaude(resolve(CLAUDE), environment) }),
}
try {
  await measure(gateway, docker === undefined ? [alone] : [alone, docker.bare], environment)
} finally {
  await gateway.close()
  await docker?.close()
  await model.close()
}
