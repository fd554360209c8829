#!/usr/bin/env node
/**
 * The main job, end to end, on real parts: a scratch repository with a small real bug, a gateway and a scripted model
 * server on loopback, and the real Claude Code, driven through `rclaude run`; then `rclaude apply` brings the patch home
 * and the test passes. Exits with 0 only if all of that truly happened. Everything lives in one temporary folder, which is
 * gone afterwards, as is every process.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startModelServer } from './model-server.ts'
import { DEMO_PROMPT, makeDemoRepository } from './repository.ts'
import { fixFailingTest } from './scripts.ts'

const DIST = dirname(fileURLToPath(import.meta.url))
const CLI = join(DIST, 'rclaude.js')
const CHECK = 'npm test --silent -- --test-reporter=dot'
/** The version that package.json pins. */
const CLAUDE = join(DIST, '..', 'node_modules', '.bin', 'claude')

async function main(): Promise<void> {
  process.on('SIGINT', () => {}) // Ctrl-C reaches the part that runs; what follows then cleans up
  const root = mkdtempSync(join(tmpdir(), 'rclaude-demo-'))
  const repository = join(root, 'tea-timer')
  const model = await startModelServer({ script: fixFailingTest(pace()) })
  const env = environment(root, model.url)
  const inRepository = (command: string, args: string[]) => run(command, args, { cwd: repository, env })
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
  } finally {
    await stopAll({ cwd: root, env })
    await model.close()
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  }
  must('nothing is left running', (await processesOf(root)).length === 0)
  say('\nAll of it was real but the model: Claude Code, git, the gateway, the agent and its tunnel.\n')
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

/** Runs a program on the demo's own terminal. @returns its exit code */
function run(command: string, args: string[], options: RunOptions): Promise<number | null> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'inherit', 'inherit'] })
  return new Promise((resolve, reject) => child.once('close', resolve).once('error', reject))
}

/** Also after a failure or Ctrl-C in the middle: tasks first, then the gateway. */
async function stopAll(options: RunOptions): Promise<void> {
  const tasks = await output(['ps', '--quiet'], options)
  const ids = tasks.split('\n').filter((id) => id !== '')
  if (ids.length > 0) await output(['stop', ...ids], options)
  await output(['gateway', 'stop'], options)
}

function output(args: string[], options: RunOptions): Promise<string> {
  const child = spawn(process.execPath, [CLI, ...args], { ...options, stdio: ['ignore', 'pipe', 'ignore'] })
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
  process.exitCode = 1
})
