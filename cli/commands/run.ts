/**
 * `rclaude run`: credentials and consent first, then snapshot -> create the task -> push -> watch. Nothing is launched
 * before all that could stop it was looked at, and from the push on the task needs this program no more.
 */
import { randomUUID } from 'node:crypto'
import { resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Command, Option } from 'commander'
import { DEFAULT_REPO_USER } from '../../protocol/clone.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import type { Gateway } from '../api.ts'
import { act, amount, collect, duration, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { isUnsandboxed, requireConsent } from '../consent.ts'
import { requireModelAccess } from '../credentials.ts'
import { dryRun } from '../dry-run.ts'
import { holdLease, type Lease, parseOnDisconnect } from '../lease.ts'
import { wantsMachine, withProject } from '../project-file.ts'
import { readAll } from '../prompt.ts'
import { repoCredential, repoRequest } from '../repo-credential.ts'
import { taskLine } from '../run-output.ts'
import { openView, type RunView } from '../run-view.ts'
import { agreeToSend, surveyText } from '../sending.ts'
import { rememberSent, sentBefore } from '../sent.ts'
import { checkSources, projectFolder, projectOf, snapshotOptions } from '../sources.ts'
import { AGENTS, PERMISSION_MODES, type RunOptions, readWork, taskRequest } from '../task-request.ts'
import { parseSecrets } from '../variables.ts'
import { watch } from '../watch.ts'
import { gitAuthor } from '../workspace/author.ts'
import { pushSnapshot } from '../workspace/push.ts'
import { type Snapshot, type SnapshotOptions, takeSnapshot } from '../workspace/snapshot.ts'
import { surveyedBytes } from '../workspace/survey.ts'
import type { World } from '../world.ts'

const CREATE_TRIES = 4
const CREATE_WAIT_MS = 1_000
/** How long another call with the same key may take to send the files, once it has kept this one from it. */
const RIVAL_LIMIT_MS = 30_000
const RIVAL_POLL_MS = 250

export function define(world: World): Command {
  return newCommand('run', 'run a coding agent, or a command, as a task', [
    'rclaude run "fix the failing test" --check "npm test"',
    'rclaude run -f prompt.md --budget 2.50 --timeout 30m',
    'git diff | rclaude run - --no-workspace',
    'rclaude run --detach --label nightly "update the dependencies"',
    'rclaude run --exclude data/ --exclude "*.mp4" --dry-run',
    'rclaude run -- npm test',
    'rclaude run --json --on-disconnect stop:30s "fix it"   for CI; see docs/ci.md',
    'rclaude run --repo https://github.com/me/private.git --repo-token GITHUB_TOKEN "fix the build"',
  ])
    .argument('[prompt]', 'what to do; - reads it from standard input')
    .usage('[options] [prompt] [-- command...]')
    .option('-f, --file <file>', 'read the prompt from a file')
    .addOption(new Option('--agent <name>', 'who does it').choices(AGENTS))
    .option('--model <name>', 'model that the coding agent uses')
    .option('--model-profile <name>', 'way to the model, as rclaude model ls shows it')
    .addOption(new Option('--permission-mode <mode>', 'what it may do without asking').choices(PERMISSION_MODES))
    .option('--timeout <duration>', 'end it after so long', duration)
    .option('--idle <duration>', 'end it when the coding agent says nothing for so long', duration)
    .option('--budget <usd>', 'end it when it has cost so much', amount)
    .option('--max-turns <n>', 'end it after so many model turns', wholeNumber)
    .option('--check <command>', 'shell command that says whether the result is good')
    .option('--setup <command>', 'shell command that prepares the workspace')
    .option('-e, --env <name[=value]>', 'set a variable, or pass yours on', collect)
    .option('--secret <name>', 'from your environment; NAME=@FILE from a file, NAME=- from standard input', collect)
    .option('-l, --label <name[=value]>', 'to find the task by', collect)
    .option('-d, --detach', 'print the id of the task and leave')
    .option('--keep <duration>', 'keep the machine so long after the work is done', duration)
    .option('--no-workspace', 'start in an empty folder')
    .option('--repo <url>', 'clone this instead of sending your working tree')
    .option('--ref <ref>', 'branch, tag or commit of --repo')
    .option('--repo-token <name>', 'token for a private --repo, given as --secret is; only the clone gets it')
    .option('--repo-user <user>', `whose token it is (default: ${DEFAULT_REPO_USER})`)
    .option('--repo-credentials', 'take what your own git has for --repo')
    .option('--launcher <name>', 'where it runs')
    .option('--depth <n>', 'commits of history to send, or to clone', wholeNumber)
    .option('--exclude <pattern>', 'leave these files out (as in .gitignore)', collect)
    .option('--include <pattern>', 'send these although git ignores them', collect)
    .option('--no-project-file', 'leave .rclaude.yaml aside')
    .option('--dry-run', 'say what would be sent, and leave')
    .option('-y, --yes', 'send it without asking, however much it is or looks secret')
    .option('-C, --directory <dir>', 'send this folder instead of the present one')
    .option('--on-disconnect <what>', 'when this program is gone: keep, or stop:GRACE', parseOnDisconnect)
    .option('--idempotency-key <key>', 'attach to the task that was made with this key, if there is one')
    .option('--no-wait', 'fail at once when the gateway says to come again later')
    .option('--unsandboxed', 'agree, for this call, that the task runs unsandboxed on this machine')
    .action(act(world, run))
}

async function run(invocation: Invocation, prompt: string | undefined, given: RunOptions): Promise<number> {
  const { world, globals } = invocation
  checkSources(given)
  const project = await projectOf(world, given)
  const options = project === undefined ? given : withProject(given, project, world.afterDashes !== undefined)
  if (options.dryRun === true) return dryRun(invocation, options, project)
  const stdin = onceOnly(() => readAll(world.stdin))
  const work = await readWork(prompt, options, world.afterDashes, stdin)
  const sources = { env: world.env, readStdin: stdin }
  const secrets = await parseSecrets(options.secret ?? [], sources)
  const credential = await repoCredential(options, sources)

  const gateway = await invocation.connect({ start: 'always', ...(options.wait === false && { maxWaitSeconds: 0 }) })
  const info = await gateway.client.call(routes.info)
  if (isUnsandboxed(info, options.launcher)) await requireConsent(world, options)
  const model = await requireModelAccess(world, info, {
    agent: work.agent,
    modelProfile: options.modelProfile,
    given: secrets,
  })

  const view = openView(world, {
    json: globals.json === true && options.detach !== true,
    stream: options.detach === true ? world.stderr : world.stdout,
  })
  if (project !== undefined) await view.note(`using ${project.file}`)
  for (const key of project !== undefined && isUnsandboxed(info, options.launcher) ? wantsMachine(project) : [])
    await view.warn(`${key} of ${project?.file} is left aside: this gateway's launcher has no machines of its own`)
  const author = await gitAuthor(resolve(world.cwd, options.directory ?? '.')).catch(() => undefined)
  const finish = (workspace: CreateTaskInput['workspace']): CreateTaskInput => {
    const request = taskRequest(work, options, workspace, world.env)
    return {
      ...request,
      ...(author && { author }),
      ...(options.repo !== undefined && repoRequest(options, credential)),
      env: { ...model.env, ...request.env },
      secrets: { ...model.secrets, ...secrets },
    }
  }
  let lease: Lease | undefined
  const making: Making = {
    ...options,
    onMade: (made) => {
      lease = holdLease(gateway.client, made)
    },
  }
  const task = await closing(view, () => submit(invocation, gateway, view, making, finish))
  if (options.detach === true) {
    await view.close()
    await invocation.out.line(globals.json === true ? taskLine(task) : task.id)
    return 0
  }
  return watch(world, gateway, task.id, view, { unasked: 'stop', lease })
}

interface Making extends RunOptions {
  /** Told as soon as the task is there: sending its files may take its time. */
  onMade(task: Task): void
}

/** Creates the task and gives it its files. */
async function submit(
  { world }: Invocation,
  gateway: Gateway,
  view: RunView,
  options: Making,
  finish: (workspace: CreateTaskInput['workspace']) => CreateTaskInput,
): Promise<Task> {
  if (!options.workspace) return create(gateway, options, finish({ kind: 'none' }))
  if (options.repo !== undefined) return create(gateway, options, finish(repoRequest(options, undefined).workspace))
  const interrupted = new AbortController()
  const onSignal = () =>
    interrupted.abort(
      new RclaudeError('unavailable', 'interrupted before the task had its files; nothing was launched'),
    )
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  try {
    const { signal } = interrupted
    let bytes = 0
    await using snapshot = await snapshotStep(world, view, options, {
      signal,
      sentBefore: async (project) => (await sentBefore(world, gateway.url, project))?.commits,
      look: async (survey) => {
        const before = await sentBefore(world, gateway.url, survey.project)
        bytes = surveyedBytes(survey)
        await agreeToSend(world, view, survey, { yes: options.yes, agreedBytes: before?.bytes })
      },
    })
    const { objectFormat, project, heads } = snapshot
    const task = await create(gateway, options, finish({ kind: 'snapshot', objectFormat, project }), signal)
    if (!awaitsFiles(task)) {
      await view.note(`${task.id} has its files already: it was made earlier with this --idempotency-key`)
      return task
    }
    await pushStep(world, gateway, view, task, snapshot, signal, options.idempotencyKey !== undefined)
    await rememberSent(world, gateway.url, project, { bytes, commits: heads })
    return task
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** Says how much it is before anything is read or sent. */
async function snapshotStep(
  world: World,
  view: RunView,
  options: RunOptions,
  { look, ...rest }: Required<Pick<SnapshotOptions, 'look' | 'sentBefore' | 'signal'>>,
): Promise<Snapshot> {
  const step = view.step('snapshot')
  let amount = ''
  try {
    const snapshot = await takeSnapshot(projectFolder(world, options), {
      ...rest,
      ...snapshotOptions(options),
      look: async (survey) => {
        amount = surveyText(survey)
        step.progress(amount)
        await look(survey)
      },
    })
    const uncommitted = snapshot.base !== undefined && snapshot.dirty ? ' with your uncommitted changes' : ''
    await step.done(`${snapshot.commit.slice(0, 7)}${uncommitted}: ${amount}`)
    for (const warning of snapshot.warnings) await view.warn(warning)
    return snapshot
  } catch (error) {
    await step.failed()
    throw error
  }
}

async function pushStep(
  world: World,
  gateway: Gateway,
  view: RunView,
  task: Task,
  snapshot: Snapshot,
  signal: AbortSignal,
  isShared: boolean,
): Promise<void> {
  const step = view.step('upload')
  let sent: string | undefined
  try {
    const remote = { gateway: gateway.url, token: gateway.token, taskId: task.id, env: world.env }
    await pushSnapshot(snapshot, remote, {
      signal,
      onProgress: ({ phase, percent, bytesText }) => {
        if (phase === 'Writing objects') sent = bytesText?.split(' | ')[0] ?? sent
        step.progress(`${phase.toLowerCase()} ${percent}%${bytesText === undefined ? '' : `, ${bytesText}`}`)
      },
    })
    await step.done(sent)
  } catch (error) {
    await step.failed()
    if (isShared && !signal.aborted && (await getsFiles(gateway, task))) return // another call with this key was quicker
    if (!isShared) await abandon(gateway, task)
    throw error
  }
}

const awaitsFiles = (task: Task): boolean => task.state === 'queued' && task.waitingFor === 'workspace'

/** Somebody else is sending them, and done soon. */
async function getsFiles({ client }: Gateway, task: Task): Promise<boolean> {
  for (const deadline = Date.now() + RIVAL_LIMIT_MS; Date.now() < deadline; await pause(RIVAL_POLL_MS)) {
    const now = await client.call(routes.getTask, { params: { taskId: task.id } }).catch(() => task)
    if (!awaitsFiles(now)) return true
  }
  return false
}

/** A task that will never get its files is not left waiting for them. */
async function abandon({ client }: Gateway, task: Task): Promise<void> {
  await client
    .call(routes.stopTask, { params: { taskId: task.id }, body: { reason: 'its workspace could not be sent' } })
    .catch(() => {}) // the gateway gives it up by itself at its deadline; the first error is the one to tell
}

/** The key makes a repeated request answer with the same task, so a lost answer is no second task. */
async function create(
  { client }: Gateway,
  { idempotencyKey, onMade }: Making,
  body: CreateTaskInput,
  signal?: AbortSignal,
): Promise<Task> {
  const headers = { 'idempotency-key': idempotencyKey ?? randomUUID() }
  for (let tries = 1; ; tries++) {
    try {
      const task = await client.call(routes.createTask, { body, headers, ...(signal && { signal }) })
      onMade(task)
      return task
    } catch (error) {
      const isPassing = error instanceof RclaudeError && error.code === 'unavailable'
      if (!isPassing || tries === CREATE_TRIES) throw error
      await pause(Math.random() * CREATE_WAIT_MS * tries, undefined, { signal })
    }
  }
}

async function closing<Value>(view: RunView, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work()
  } catch (error) {
    await view.close()
    throw error
  }
}

function onceOnly<Value>(work: () => Promise<Value>): () => Promise<Value> {
  let result: Promise<Value> | undefined
  return () => {
    result ??= work()
    return result
  }
}
