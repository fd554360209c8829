/**
 * `rclaude run`: credentials and consent first, then snapshot -> create the task -> push -> watch. Nothing is launched
 * before all that could stop it was looked at (the model is asked while the files are), and from the push on the task needs
 * this program no more.
 */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { DEFAULT_REPO_USER } from '../../protocol/clone.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { act, amount, collect, cpus, duration, type Invocation, newCommand, size, wholeNumber } from '../command.ts'
import { isUnsandboxed, requireConsent } from '../consent.ts'
import { requireModelAccess } from '../credentials.ts'
import { dryRun } from '../dry-run.ts'
import { holdLease, type Lease, parseOnDisconnect } from '../lease.ts'
import { machineOf, offersOf } from '../machine.ts'
import { withProject } from '../project-file.ts'
import { readAll } from '../prompt.ts'
import { repoCredential, repoRequest } from '../repo-credential.ts'
import { taskLine } from '../run-output.ts'
import { openView, type RunView } from '../run-view.ts'
import { checkSources, projectOf } from '../sources.ts'
import { submit } from '../submit.ts'
import { AGENTS, PERMISSION_MODES, type RunOptions, readWork, taskRequest } from '../task-request.ts'
import { parseSecrets } from '../variables.ts'
import { watch } from '../watch.ts'
import { gitAuthor } from '../workspace/author.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('run', 'run a coding agent, or a command, as a task', [
    'rclaude run "fix the failing test" --check "npm test"',
    'rclaude run -f prompt.md --budget 2.50 --timeout 30m',
    'git diff | rclaude run - --no-workspace',
    'rclaude run --detach --label nightly "update the dependencies"',
    'rclaude run --exclude data/ --exclude "*.mp4" --dry-run',
    'rclaude run -- npm test',
    'rclaude run --json --on-disconnect stop:30s "fix it"   for CI; see docs/ci.md',
    'rclaude run --launcher ecs --cpu 2 --memory 8GiB --image registry.example.org/team/build:7 "fix the build"',
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
    .option('--launcher <name>', 'where it runs: process, docker or ecs, as the gateway has them')
    .option('--image <image>', 'container image to run in, in place of the one for the coding agent')
    .option('--cpu <n>', 'CPUs of its machine', cpus)
    .option('--memory <size>', 'memory of its machine', size)
    .option('--spot', 'on a cheaper machine, which may be taken away in the middle of the work')
    .option('--no-spot', 'on one that is not')
    .option('--docker', 'with a Docker engine of its own, where the launcher offers one')
    .option('--no-docker', 'without, whatever .rclaude.yaml says')
    .option('--forward-host <host>', 'let rclaude forward reach this host through the task', collect)
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
  const { machine, leftAside } = machineOf(options, project, offersOf(info, options.launcher))
  for (const key of leftAside)
    await view.warn(`${key} of ${project?.file} is left aside: the gateway's launcher does not offer it`)
  const author = await gitAuthor(resolve(world.cwd, options.directory ?? '.')).catch(() => undefined)
  const finish = (workspace: CreateTaskInput['workspace']): CreateTaskInput => {
    const request = taskRequest(work, options, workspace, world.env)
    return {
      ...request,
      ...(author && { author }),
      ...(machine && { machine }),
      ...(options.repo !== undefined && repoRequest(options, credential)),
      env: { ...model.env, ...request.env },
      secrets: { ...model.secrets, ...secrets },
    }
  }
  let lease: Lease | undefined
  const onMade = (made: Task) => {
    lease = holdLease(gateway.client, made)
  }
  const task = await closing(view, () =>
    submit({ world, gateway, view, options, onMade, accepted: model.accepted }, finish),
  )
  if (options.detach === true) {
    await view.close()
    await invocation.out.line(globals.json === true ? taskLine(task) : task.id)
    return 0
  }
  return watch(world, gateway, task.id, view, { unasked: 'stop', lease })
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
