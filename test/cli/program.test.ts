import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { COMMANDS } from '../../cli/program.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { bundleCli, type CliOptions, runCli, TEST_VERSION } from './support/bundle.ts'

const bundle = await bundleCli()
/** Those that people call. */
const shown = Object.keys(COMMANDS).filter((name) => COMMANDS[name]?.hidden !== true)
const rclaude = (args: string[], options?: CliOptions) => runCli(bundle, temporaryDirectory(), args, options)

test('--version prints the version, and works where the program is not', async () => {
  const bare = temporaryDirectory()
  cpSync(join(bundle.directory, 'rclaude.js'), join(bare, 'rclaude.js'))
  writeFileSync(join(bare, 'package.json'), '{"type":"module"}')
  for (const flag of ['--version', '-V']) {
    const { code, stdout, stderr } = await runCli({ directory: bare }, bare, [flag])
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `${TEST_VERSION}\n`, stderr: '' })
  }
  expect(readdirSync(bare).sort()).toEqual(['package.json', 'rclaude.js'])
})

test('a folder that is gone is said in a sentence', async () => {
  const gone = temporaryDirectory()
  const script = `cd '${gone}' && rmdir '${gone}' && exec '${process.execPath}' '${join(bundle.directory, 'rclaude.js')}' ps`
  const { status, stderr } = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({
    status: EXIT_CODES.usage,
    stderr: 'rclaude: the folder you are in is gone or cannot be read: cd to another one\n',
  })
})

/** What is evaluated with a command, before it does anything: all but what is imported late. */
function inputsOfPs(): string[] {
  const { inputs } = bundle.metafile
  const seen = new Set<string>()
  const visit = (path: string) => {
    if (seen.has(path)) return
    seen.add(path)
    for (const { path: next, kind, external } of inputs[path]?.imports ?? [])
      if (kind !== 'dynamic-import' && external !== true) visit(next)
  }
  visit('cli/start.ts')
  visit('cli/commands/ps.ts')
  return [...seen]
}

test('a command loads its own module and no other', () => {
  expect(inputsOfPs().filter((input) => input.includes('/commands/'))).toEqual(['cli/commands/ps.ts'])
})

test('what a proxy needs is not loaded with a command, only when there is a proxy', () => {
  const lazy = ['host/proxied-fetch.ts', 'host/proxy-agent.ts']
  expect(Object.keys(bundle.metafile.inputs)).toEqual(expect.arrayContaining(lazy))
  expect(inputsOfPs().filter((input) => lazy.includes(input))).toEqual([])
})

test('the CLI has no native module, no gateway and no agent in it', () => {
  const inputs = Object.keys(bundle.metafile.inputs)
  expect(inputs.filter((input) => /better-sqlite3|^gateway\/|^agent\/|^tunnel\/|\.node$/.test(input))).toEqual([])
})

test('help lists every command, and each has help of its own', async () => {
  const { code, stdout } = await rclaude(['--help'])
  expect(code).toBe(0)
  for (const name of shown) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'))
  for (const name of ['run', 'gateway', 'exec']) {
    const own = await rclaude([name, '--help'])
    expect({ name, code: own.code, stderr: own.stderr }).toEqual({ name, code: 0, stderr: '' })
    expect(own.stdout).toMatch(/Examples:\n {2}/)
    expect((await rclaude(['help', name])).stdout).toBe(own.stdout)
  }
})

test('help exit-codes lists every code', async () => {
  const { stdout } = await rclaude(['help', 'exit-codes'])
  for (const [name, code] of Object.entries(EXIT_CODES)) expect(stdout).toMatch(new RegExp(`^ +${code}  ${name} `, 'm'))
})

test.each([
  [['nope'], "rclaude: unknown command 'nope'"],
  [['run', '--bogus'], "rclaude: unknown option '--bogus'\n(see rclaude run --help)"],
  [['gateway', 'start', '--bogus'], '(see rclaude gateway start --help)'],
  [['show'], "rclaude: missing required argument 'task'"],
  [['ps', 'extra'], 'rclaude: too many arguments'],
  [['run', '--cpu', '-1', 'x'], 'Expected a number of CPUs'],
  [['run', '--memory', '4GB', 'x'], 'Expected a size like 512MiB or 4GiB'],
  [['run', '--timeout', 'soon', 'x'], 'Expected a duration like 30s'],
  [['run', '--budget', '-1', 'x'], 'Expected an amount in US dollars'],
  [['run', '--max-turns', '1.5', 'x'], 'Expected a whole number'],
  [['run', '--agent', 'nobody', 'x'], 'Allowed choices are claude, command'],
  [['run'], 'what is to be done?'],
  [['run', '--'], 'there is no command after --'],
  [['run', '--ref', 'main', 'x'], '--ref says which part of --repo'],
  [['run', '--secret', 'A=value', 'x'], 'is refused'],
  [['exec', 'task_abcdefghjkmn'], 'what is to run?'],
  [['ps', '--gateway', 'not a url'], 'is no gateway'],
  [['ps', '--gateway', 'http://user:pass@127.0.0.1:1'], 'holds no user or password'],
  [['ps', '--token-file', '/does/not/exist'], 'cannot read the token file'],
  [['token', 'create', 'x', '--user', 'x', '--scope', 'run'], '"run" is none of tasks:read'],
  [['completion', 'tcsh'], 'Allowed choices are bash, zsh, fish'],
])('%j is a usage error: one message, exit code 2', async (args, message) => {
  const { code, stdout, stderr } = await rclaude(args)
  expect(stderr).toContain(message)
  expect(stderr).not.toMatch(/\n {4}at /)
  expect({ code, stdout }).toEqual({ code: EXIT_CODES.usage, stdout: '' })
})

test('without a gateway a command says what to do, and starts none', async () => {
  const home = temporaryDirectory()
  const { code, stdout, stderr } = await runCli(bundle, home, ['ps'])
  expect({ code, stdout }).toEqual({ code: EXIT_CODES.internal, stdout: '' })
  expect(stderr).toMatch(/^rclaude: no gateway: .*\n$/)
  expect(readdirSync(home)).toEqual([])
})

test('a stack is shown only when RCLAUDE_DEBUG asks for it', async () => {
  const { stderr } = await rclaude(['ps'], { env: { RCLAUDE_DEBUG: '1' } })
  expect(stderr).toMatch(/\n {4}at /)
})

test.each(['bash', 'zsh', 'fish'])(
  'completion %s knows every command and option, and its shell reads it',
  async (shell) => {
    const { code, stdout } = await rclaude(['completion', shell])
    expect(code).toBe(0)
    for (const name of shown) expect(stdout).toContain(name)
    for (const option of ['permission-mode', 'max-turns', 'bypassPermissions', 'token-file'])
      expect(stdout).toContain(option)
    const program = { bash: '/bin/bash', zsh: '/usr/bin/zsh', fish: '/usr/bin/fish' }[shell] ?? ''
    if (!existsSync(program)) return console.log(`${program} is not here: its syntax check is left out`)
    const file = join(temporaryDirectory(), 'completion')
    writeFileSync(file, stdout)
    execFileSync(program, ['-n', file])
  },
)

test('bash completes commands, subcommands, options and choices', async () => {
  const { stdout } = await rclaude(['completion', 'bash'])
  const file = join(temporaryDirectory(), 'completion.bash')
  writeFileSync(file, stdout)
  const complete = (...words: string[]) =>
    execFileSync(
      '/bin/bash',
      [
        '-c',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: an array in bash
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rclaude; echo "${COMPREPLY[*]}"',
        file,
        'rclaude',
        ...words,
      ],
      { encoding: 'utf8' },
    ).trim()
  expect(complete('do')).toBe('doctor')
  expect(complete('gateway', 'st')).toBe('start status stop')
  expect(complete('run', '--max')).toBe('--max-turns')
  expect(complete('run', '--permission-mode', 'a')).toBe('acceptEdits')
  expect(complete('run', 'token', '--la')).toBe('--label --launcher')
  rmSync(file)
})

test('bash completes processes of a task behind its slash, as the task was named', async () => {
  const { stdout } = await rclaude(['completion', 'bash'])
  const file = join(temporaryDirectory(), 'completion.bash')
  writeFileSync(file, stdout)
  const listing = 'rclaude() { [ "$*" = "processes -aq k3m" ] && printf "%s\\n" task_k3m/proc_aa task_k3m/proc_ab; }'
  const complete = (command: string) =>
    execFileSync(
      '/bin/bash',
      [
        '-c',
        `${listing}; source "$0"; COMP_WORDS=(rclaude "$1" k3m/p); COMP_CWORD=2; _rclaude; echo "\${COMPREPLY[*]}"`,
        file,
        command,
      ],
      { encoding: 'utf8' },
    ).trim()
  expect(['attach', 'kill', 'logs'].map(complete)).toEqual(['k3m/proc_aa k3m/proc_ab', 'k3m/proc_aa k3m/proc_ab', ''])
})
