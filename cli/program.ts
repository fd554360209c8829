/**
 * The command line. The table below knows every command by name and summary; only the one that is called is loaded.
 * Help and completion need more, and load it then.
 */
import { Command } from 'commander'
import { VERSION } from '../protocol/version.ts'
import { type Define, withGlobals } from './command.ts'
import { exitCodesText } from './exit-codes.ts'
import { reportFailure } from './failure.ts'
import { write } from './output.ts'
import type { World } from './world.ts'

interface Entry {
  group: string
  summary: string
  /** Called by programs, not by people. */
  hidden?: true
  load(): Promise<{ define: Define }>
}

const TASKS = 'Run and follow tasks:'
const RESULTS = 'Take the result home:'
const STEP_IN = 'Step into a running task:'
const GATEWAYS = 'Gateways, access, money:'
const HELP = 'Help:'

/** In the order in which help lists them, under the headings that it gives them. */
export const COMMANDS: Record<string, Entry> = {
  init: {
    group: TASKS,
    summary: 'set up: check git and credentials, find or start a gateway, write .rclaude.yaml',
    load: () => import('./commands/init.ts'),
  },
  run: {
    group: TASKS,
    summary: 'run a coding agent, or a command, as a task',
    load: () => import('./commands/run.ts'),
  },
  ps: { group: TASKS, summary: 'list tasks', load: () => import('./commands/ps.ts') },
  show: { group: TASKS, summary: 'show everything about a task', load: () => import('./commands/show.ts') },
  logs: { group: TASKS, summary: 'print what a task did and said', load: () => import('./commands/logs.ts') },
  attach: {
    group: TASKS,
    summary: 'watch a task, or take up a process in it',
    load: () => import('./commands/attach.ts'),
  },
  continue: { group: TASKS, summary: 'give a task another prompt', load: () => import('./commands/continue.ts') },
  retry: {
    group: TASKS,
    summary: 'start the same work again as a new task',
    load: () => import('./commands/retry.ts'),
  },
  stop: { group: TASKS, summary: 'stop tasks; what they did is saved', load: () => import('./commands/stop.ts') },
  rm: { group: TASKS, summary: 'delete tasks with all they left', load: () => import('./commands/rm.ts') },
  prune: { group: TASKS, summary: 'delete ended tasks to make room', load: () => import('./commands/prune.ts') },
  diff: { group: RESULTS, summary: 'show what a task changed', load: () => import('./commands/diff.ts') },
  apply: { group: RESULTS, summary: 'put the change on your working tree', load: () => import('./commands/apply.ts') },
  pull: { group: RESULTS, summary: 'get the result as a branch', load: () => import('./commands/pull.ts') },
  exec: { group: STEP_IN, summary: 'run a process inside a running task', load: () => import('./commands/exec.ts') },
  shell: { group: STEP_IN, summary: 'open a terminal in a running task', load: () => import('./commands/shell.ts') },
  processes: {
    group: STEP_IN,
    summary: 'list what exec started in a task',
    load: () => import('./commands/processes.ts'),
  },
  kill: {
    group: STEP_IN,
    summary: 'end a process that exec started, or send it a signal',
    load: () => import('./commands/kill.ts'),
  },
  ls: { group: STEP_IN, summary: 'list files of a running task', load: () => import('./commands/ls.ts') },
  cat: { group: STEP_IN, summary: 'print files of a running task', load: () => import('./commands/cat.ts') },
  cp: {
    group: STEP_IN,
    summary: 'copy files and trees from and to a running task',
    load: () => import('./commands/cp.ts'),
  },
  edit: {
    group: STEP_IN,
    summary: 'edit a file of a running task with your editor',
    load: () => import('./commands/edit.ts'),
  },
  sync: {
    group: STEP_IN,
    summary: 'keep a folder here and one of a task the same',
    load: () => import('./commands/sync.ts'),
  },
  forward: {
    group: STEP_IN,
    summary: 'reach ports of a task from here, and ports of here from a task',
    load: () => import('./commands/forward.ts'),
  },
  ports: { group: STEP_IN, summary: 'list the ports that listen in a task', load: () => import('./commands/ports.ts') },
  preview: {
    group: STEP_IN,
    summary: 'see a port of a task in the browser',
    load: () => import('./commands/preview.ts'),
  },
  ssh: { group: STEP_IN, summary: 'log in to a running task with ssh', load: () => import('./commands/ssh.ts') },
  'ssh-config': {
    group: STEP_IN,
    summary: 'let ssh, scp, sftp, rsync and editors reach tasks',
    load: () => import('./commands/ssh-config.ts'),
  },
  'ssh-proxy': {
    group: STEP_IN,
    summary: 'carry one SSH connection; ssh calls it',
    hidden: true,
    load: () => import('./commands/ssh-proxy.ts'),
  },
  'git-remote': {
    group: STEP_IN,
    summary: 'the workspace of a task as a git remote; git calls it',
    hidden: true,
    load: () => import('./commands/git-remote.ts'),
  },
  top: {
    group: STEP_IN,
    summary: 'show what the machines of running tasks are busy with',
    load: () => import('./commands/top.ts'),
  },
  replay: { group: STEP_IN, summary: 'play a recorded terminal', load: () => import('./commands/replay.ts') },
  login: { group: GATEWAYS, summary: 'use a gateway elsewhere', load: () => import('./commands/login.ts') },
  context: { group: GATEWAYS, summary: 'list, choose or forget gateways', load: () => import('./commands/context.ts') },
  gateway: {
    group: GATEWAYS,
    summary: 'start, look at or stop the local gateway',
    load: () => import('./commands/gateway.ts'),
  },
  token: {
    group: GATEWAYS,
    summary: 'make, list, rotate and revoke tokens',
    load: () => import('./commands/token.ts'),
  },
  share: {
    group: GATEWAYS,
    summary: 'let others see a task, or work with it',
    load: () => import('./commands/share.ts'),
  },
  unshare: { group: GATEWAYS, summary: 'take a task back from others', load: () => import('./commands/unshare.ts') },
  model: {
    group: GATEWAYS,
    summary: 'keep ways to a model: keys, tokens, Bedrock, Vertex',
    load: () => import('./commands/model.ts'),
  },
  limits: {
    group: GATEWAYS,
    summary: 'what was spent today, and what of your limits is used',
    load: () => import('./commands/limits.ts'),
  },
  ecs: {
    group: GATEWAYS,
    summary: 'what runs on Amazon ECS, and whether it can',
    load: () => import('./commands/ecs.ts'),
  },
  audit: { group: GATEWAYS, summary: 'who did what', load: () => import('./commands/audit.ts') },
  doctor: {
    group: HELP,
    summary: 'check that everything needed is there, or what ails a task',
    load: () => import('./commands/doctor.ts'),
  },
  completion: {
    group: HELP,
    summary: 'print a completion script for your shell',
    load: () => import('./commands/completion.ts'),
  },
}

/** Their own command line ends at `--`; what follows is another program's. */
const TAKES_COMMAND = new Set(['run', 'exec', 'shell'])
const GLOBALS_WITH_VALUE = new Set(['--gateway', '--context', '--token-file'])

/** @returns the exit code */
export async function runProgram(world: World): Promise<number> {
  const called = commandIn(world.argv)
  try {
    const program = await buildProgram(world, called === 'help' ? 'all' : called)
    const dashes = called !== undefined && TAKES_COMMAND.has(called) ? world.argv.indexOf('--') : -1
    if (dashes >= 0) world.afterDashes = world.argv.slice(dashes + 1)
    await program.parseAsync(dashes >= 0 ? world.argv.slice(0, dashes) : world.argv, { from: 'user' })
    return world.exitCode
  } catch (error) {
    return reportFailure(world, error, called)
  }
}

/** With `all` every command is there in full, otherwise only the one that is named; the others are known by name. */
export async function buildProgram(world: World, which: string | undefined): Promise<Command> {
  const program = configure(
    withGlobals(new Command('rclaude'))
      .description('Run coding agents as tasks on machines that come and go: watch live, step in, get back a patch.')
      .usage('[options] <command>')
      .version(VERSION, '-V, --version', 'print the version')
      .enablePositionalOptions()
      .helpCommand(false)
      .addHelpText('after', '\nMore: rclaude help COMMAND, rclaude help exit-codes'),
    world,
  )
  for (const [name, { group, summary, hidden, load }] of Object.entries(COMMANDS)) {
    const isNeeded = which === 'all' || which === name
    const command = isNeeded
      ? (await load()).define(world, () => buildProgram(world, 'all'))
      : new Command(name).summary(summary)
    program.addCommand(configure(command.helpGroup(group), world), { hidden: hidden === true })
  }
  program.addCommand(configure(helpCommand(program, world).helpGroup(HELP), world))
  return program
}

function helpCommand(program: Command, world: World): Command {
  return new Command('help')
    .summary('help for a command, or exit-codes')
    .argument('[topic]')
    .action(async (topic: string | undefined) => {
      if (topic === undefined) return program.outputHelp()
      if (topic === 'exit-codes') return write(world.stdout, `${exitCodesText()}\n`)
      const command = program.commands.find((one) => one.name() === topic)
      if (command === undefined) return program.error(`error: no help for '${topic}'`)
      command.outputHelp()
    })
}

/** Commander does not hand its settings down to commands that were made elsewhere. */
function configure(command: Command, world: World): Command {
  command.exitOverride().configureOutput({
    writeOut: (text) => void world.stdout.write(text),
    writeErr: (text) => void world.stderr.write(text),
    outputError: (text, print) => print(`rclaude: ${text.replace(/^error: /, '')}`),
  })
  command.showHelpAfterError(`(see ${pathOf(command)} --help)`)
  for (const child of command.commands) configure(child, world)
  return command
}

function pathOf(command: Command): string {
  if (command.name() === 'rclaude') return 'rclaude'
  return `${command.parent === null ? 'rclaude' : pathOf(command.parent)} ${command.name()}`
}

/** The first word that is neither an option nor the value of one. */
export function commandIn(argv: readonly string[]): string | undefined {
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? ''
    if (word === '--') return undefined
    if (!word.startsWith('-')) return word
    if (GLOBALS_WITH_VALUE.has(word)) at++
  }
  return undefined
}
