#!/usr/bin/env node
/**
 * The main job, end to end, on real parts: a scratch repository with a small real bug, a gateway and a scripted model
 * server on loopback, and the real Claude Code, driven through `rclaude run`; then `rclaude apply` brings the patch home
 * and the test passes. Exits with 0 only if all of that truly happened. Everything lives in one temporary folder, which is
 * gone afterwards, as is every process: also after Ctrl-C or a TERM in the middle.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startModelServer } from './model-server.ts'
import { DEMO_PROMPT, makeDemoRepository } from './repository.ts'
import { fixFailingTest } from './scripts.ts'

const DIST = dirname(fileURLToPath(import.meta.url))
const CLI = join(DIST, 'rclaude.js')
const CHECK = 'npm test --silent -- --test-reporter=dot'
const KILL_PAUSE_MS = 50
/** The version that package.json pins. */
const CLAUDE = join(DIST, '..', 'node_modules', '.bin', 'claude')

async function main(): Promise<void> {
  const interrupted = watchSignals()
  const root = mkdtempSync(join(tmpdir(), 'rclaude-demo-'))
  const repository = join(root, 'tea-timer')
  const model = await startModelServer({ script: fixFailingTest(pace()) })
  const env = environment(root, model.url)
  const inRepository = (command: string, args: string[]) =>
    run(command, args, { cwd: repository, env, signal: interrupted })
  let isDone = false
  try {
    await makeDemoRepository(repository)
    heading('A repository with a failing test', repository)
    must('the test fails', (await inRepository('npm', ['test', '--silent', '--', '--test-reporter=spec'])) !== 0)

    heading('The real Claude Code fixes it', `rclaude run "${DEMO_PROMPT}" --check "${CHECK}"`)
    const ran = await inRepository(process.execPath, [CLI, 'run', '--unsandboxed', '--check', CHECK, DEMO_PROMPT])
    must('the task succeeded and its check passed', ran === 0)
    must(
      'Claude Code talked to the model',
      model.requests.some((request) => request.kind === 'conversation'),
    )
    must('the repository is as it was', (await inRepository('git', ['diff', '--quiet'])) === 0)

    heading('The change', 'rclaude diff @last')
    must('there is a change', (await inRepository(process.execPath, [CLI, 'diff', '@last'])) === 0)

    heading('The patch comes home', 'rclaude apply @last')
    must('it applied', (await inRepository(process.execPath, [CLI, 'apply', '@last'])) === 0)
    must('the test passes', (await inRepository('npm', ['test', '--silent', '--', '--test-reporter=spec'])) === 0)
    isDone = true
  } finally {
    await stopAll({ cwd: root, env })
    if (!isDone) await killAll(root)
    await model.close()
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  }
  interrupted.throwIfAborted()
  must('nothing is left running', (await processesOf(root)).length === 0)
  say('\nAll of it was real but the model: Claude Code, git, the gateway, the agent and its tunnel.\n')
}

/** Fires at the first signal that asks the demo to end; later ones don't disturb the cleaning up. */
function watchSignals(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => controller.abort(new Interrupted(name)))
  return controller.signal
}

class Interrupted extends Error {
  /** As a shell reports a program that a signal ended. */
  readonly exitCode: number

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`interrupted by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** On a terminal the model takes its time, so that one can watch. */
const pace = () => (process.stdout.isTTY ? { delayMs: 300, pieceDelayMs: 25 } : {})

/** A user of its own, who has nothing but what the demo gives. */
function environment(root: string, modelUrl: string): NodeJS.ProcessEnv {
  for (const name of ['home', 'tmp']) mkdirSync(join(root, name))
  const { PATH, TERM, LANG, NO_COLOR, FORCE_COLOR, COLORTERM } = process.env
  return {
    PATH,
    TERM,
    LANG,
    NO_COLOR,
    FORCE_COLOR,
    COLORTERM,
    HOME: join(root, 'home'),
    TMPDIR: join(root, 'tmp'),
    npm_config_update_notifier: 'false',
    RCLAUDE_CLAUDE: CLAUDE,
    ANTHROPIC_BASE_URL: modelUrl,
    ANTHROPIC_API_KEY: 'a-key-that-only-the-demo-takes',
  }
}

interface RunOptions {
  cwd: string
  env: NodeJS.ProcessEnv
}

/** Runs a program on the demo's own terminal. @returns its exit code @throws Interrupted, once the program has ended */
function run(
  command: string,
  args: string[],
  { signal, ...options }: RunOptions & { signal: AbortSignal },
): Promise<number | null> {
  signal.throwIfAborted()
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'inherit', 'inherit'] })
  const end = () => void child.kill('SIGTERM') // Ctrl-C reached it already, another signal only us
  signal.addEventListener('abort', end, { once: true })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      signal.removeEventListener('abort', end)
      if (signal.aborted) reject(signal.reason)
      else resolve(code)
    })
  })
}

/** Also after a failure or a signal in the middle: tasks first, then the gateway. A second Ctrl-C does not reach it. */
async function stopAll(options: RunOptions): Promise<void> {
  const tasks = await output(['ps', '--quiet'], options)
  const ids = tasks.split('\n').filter((id) => id !== '')
  if (ids.length > 0) await output(['stop', ...ids], options)
  await output(['gateway', 'stop'], options)
}

/** What was just being started when the demo broke off. */
async function killAll(root: string): Promise<void> {
  for (let pids = await processesOf(root); pids.length > 0; pids = await processesOf(root)) {
    for (const pid of pids) killQuietly(Number(pid))
    await pause(KILL_PAUSE_MS)
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended meanwhile.
  }
}

function output(args: string[], options: RunOptions): Promise<string> {
  const child = spawn(process.execPath, [CLI, ...args], {
    ...options,
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  return new Promise((resolve) => child.once('close', () => resolve(text)).once('error', () => resolve('')))
}

/** What still has the demo's folder in its environment; only Linux can tell. */
async function processesOf(root: string): Promise<string[]> {
  const pids = await readdir('/proc').catch(() => [])
  const environments = pids
    .filter((pid) => /^\d+$/.test(pid))
    .map(async (pid) => {
      const text = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      return text.includes(root) ? [pid] : []
    })
  return (await Promise.all(environments)).flat()
}

function must(what: string, isSo: boolean): void {
  if (!isSo) throw new Error(`not so: ${what}`)
  say(`  ✓ ${what}\n`)
}

function heading(title: string, detail: string): void {
  say(`\n— ${title}\n  $ ${detail}\n\n`)
}

const say = (text: string): void => void process.stdout.write(text)

main().catch((error: unknown) => {
  process.stderr.write(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = error instanceof Interrupted ? error.exitCode : 1
})
