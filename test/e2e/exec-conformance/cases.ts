/**
 * What `exec` promises, case by case, in the same words for `docker exec` and for ours. Every case says what ours must
 * give; where an engine can be had, it must give the same byte for byte, unless `differs` says why it does not.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { type Case, sh } from './case.ts'
import { INPUT, OUTPUT } from './streams.ts'

const CLOSE_ON_EXEC = 0o2000000
const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // closed meanwhile
  }
}

const argv = (name: string, ...words: string[]): Case => ({
  name: `argv: ${name}`,
  argv: ['printf', '[%s]', ...words],
  stdout: words.map((word) => `[${word}]`).join(''),
})

const ARGV: Case[] = [
  argv('words', 'a', 'b', 'c'),
  argv('blanks, tabs, leading and trailing', 'a b', ' c\t', '  '),
  argv('quotes of each kind', `it's`, '"quoted"', '`date`', "''"),
  argv('what a shell would expand', '$HOME', '$(id)', '*', '~', '{a,b}', '!!', '#', '\\', ';', '&&', '>x', '|'),
  argv('newlines', 'a\nb', '\n', 'c\r\n'),
  argv('empty strings', '', 'x', ''),
  argv('unicode, combined and beyond the first plane', 'žluťoučký', '日本語', '👩‍🚀', 'e\u0301', '\u202etxt', '\ufffd'),
  argv('control characters', '\u0001\u0007\u001b[31m', '\u007f'),
  argv('options that look like ours', '-i', '--help', '-t', '--', '-e', 'X=1'),
  argv('one of 100 KB', 'x'.repeat(100_000)),
  { ...argv('1,000 of them', ...Array.from({ length: 1_000 }, (_, at) => `argument ${at}`)) },
  {
    name: 'argv: 20,000 bytes of quotes in JSON',
    argv: sh('printf %s "$1" | wc -c', '"\\\n'.repeat(7_000)),
    stdout: '21000\n',
  },
]

const EXITS: Case[] = [
  ...[0, 1, 2, 42, 124, 125, 126, 127, 128, 137, 255].map(
    (code): Case => ({ name: `exit code ${code}`, argv: sh(`exit ${code}`), code }),
  ),
  ...(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGABRT', 'SIGKILL', 'SIGUSR1', 'SIGSEGV', 'SIGPIPE', 'SIGTERM'] as const).map(
    (name): Case => ({
      name: `death by ${name}`,
      argv: sh(`kill -${name.slice(3)} $$`),
      code: 128 + constants.signals[name],
    }),
  ),
  {
    name: 'output before a death by signal is whole',
    argv: sh('echo out; echo err >&2; kill -KILL $$'),
    code: 137,
    stdout: 'out\n',
    stderr: 'err\n',
  },
]

const itsOwnWords = { why: 'the message is the own one of each', compare: ['code' as const] }
const itsOwnCode = { why: 'as a shell says it; older engines say 126' }

const STARTS: Case[] = [
  {
    name: 'a program that is not there: 127',
    argv: ['no-such-program-x'],
    code: 127,
    stderr: /^rclaude: the agent refused: cannot start "no-such-program-x": there is no such program/,
    differs: itsOwnCode,
  },
  {
    name: 'a path that is not there: 127',
    argv: ['/no/such/program'],
    code: 127,
    stderr: /"\/no\/such\/program": there is no such program/,
    differs: itsOwnCode,
  },
  {
    name: 'not in the PATH that is given: 127',
    argv: ['ls'],
    env: ['PATH=/nowhere'],
    code: 127,
    stderr: /"ls": there is no such program/,
    differs: itsOwnCode,
  },
  {
    name: 'a file that may not be executed: 126',
    argv: ['/etc/passwd'],
    code: 126,
    stderr: /"\/etc\/passwd": it may not be executed/,
    differs: itsOwnWords,
  },
  {
    name: 'a directory: 126',
    argv: ['/tmp'],
    code: 126,
    stderr: /"\/tmp": it may not be executed/,
    differs: itsOwnWords,
  },
  { name: 'an empty name: 127', argv: [''], code: 127, stderr: /"": there is no such program/, differs: itsOwnCode },
  {
    name: 'an interpreter that is not there: 127',
    setup: `printf '#!/no/interpreter\\n' > lost; chmod +x lost`,
    argv: ['./lost'],
    code: 127,
    stderr: /there is no such program/,
    differs: itsOwnCode,
  },
  {
    name: 'a script by its relative path',
    setup: `printf '#!/bin/sh\\necho "$0 $1"\\n' > script; chmod +x script`,
    argv: ['./script', 'x'],
    stdout: './script x\n',
  },
  {
    name: 'a script without an interpreter line',
    setup: `printf 'echo plain\\n' > bare; chmod +x bare`,
    argv: ['./bare'],
    stdout: 'plain\n',
    differs: { why: 'execvp hands it to sh, as every shell does; an engine calls execve' },
  },
]

const ENVIRONMENT: Case[] = [
  { name: 'env: a variable', argv: ['printenv', 'X'], env: ['X=y'], stdout: 'y\n' },
  { name: 'env: an empty value is set', argv: sh('env | grep ^X='), env: ['X='], stdout: 'X=\n' },
  {
    name: 'env: equal signs, blanks, quotes, newlines',
    argv: ['printenv', 'X'],
    env: [`X= a=b "c" 'd'\n$e `],
    stdout: ` a=b "c" 'd'\n$e \n`,
  },
  { name: 'env: unicode', argv: ['printenv', 'X'], env: ['X=čára 👍'], stdout: 'čára 👍\n' },
  { name: 'env: the last of two counts', argv: ['printenv', 'X'], env: ['X=1', 'X=2'], stdout: '2\n' },
  {
    name: 'env: one of its own is overridden',
    argv: ['printenv', 'HOME'],
    env: ['HOME=/elsewhere'],
    stdout: '/elsewhere\n',
  },
  { name: 'env: a name alone takes ours', argv: ['printenv', 'PASSED_ON'], env: ['PASSED_ON'], stdout: 'from here\n' },
  { name: 'env: PATH and HOME are there', argv: sh('test -n "$PATH" && test -n "$HOME" && echo yes'), stdout: 'yes\n' },
  {
    name: 'env: 100 KB of it',
    argv: sh('printf %s "$X" | wc -c'),
    env: [`X=${'x'.repeat(100_000)}`],
    stdout: '100000\n',
  },
  { name: 'cwd: the workspace', setup: 'echo here > marker', argv: ['cat', 'marker'], stdout: 'here\n' },
  {
    name: 'cwd: a folder in it',
    setup: 'mkdir -p sub; echo below > sub/marker',
    argv: ['cat', 'marker'],
    cwd: 'sub',
    stdout: 'below\n',
  },
  {
    name: 'cwd: an odd name',
    setup: `mkdir -p 'o d"d'; echo odd > 'o d"d/marker'`,
    argv: ['cat', 'marker'],
    cwd: 'o d"d',
    stdout: 'odd\n',
  },
  {
    name: 'cwd: one that is not there',
    argv: ['true'],
    cwd: 'nowhere',
    code: 2,
    stderr: /cwd "nowhere" is no directory of the workspace/,
    differs: { why: 'a wrong call is exit code 2 of ours; engines say 126 or 127' },
  },
  {
    name: 'user: its own, by number',
    argv: ['id', '-u'],
    user: String(process.getuid?.()),
    stdout: `${process.getuid?.()}\n`,
  },
  {
    name: 'user: another is refused unless the gateway allows it',
    argv: ['id', '-u'],
    user: 'nobody',
    code: 125,
    stderr: /--user nobody/,
    differs: { why: 'deny by default: whoever may exec is not therefore every user of the machine' },
  },
]

/** Whoever runs the tests may have left files open that everything inherits: these are not ours. */
const inherited = readdirSync('/proc/self/fd').filter((fd) => {
  const flags = /flags:\s*(\d+)/.exec(textOf(`/proc/self/fdinfo/${fd}`))?.[1] ?? ''
  return Number(fd) > 2 && (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) === 0
})
/** The folder that is being listed is open as well, under the first number that is free. */
const listing = [3, 4, 5, 6, 7, 8, 9].find((fd) => !inherited.includes(String(fd))) ?? 3
const openFiles: Partial<Case> & Pick<Case, 'argv'> = {
  argv: ['ls', ...inherited.flatMap((fd) => ['-I', fd]), '/proc/self/fd'],
  stdout: `0\n1\n2\n${listing}\n`,
}

const STATE: Case[] = [
  {
    name: 'signals: none is ignored and none is blocked',
    argv: ['grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status'],
    stdout: 'SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n',
  },
  {
    name: 'signals: a writer to a closed pipe dies of SIGPIPE',
    argv: sh('(yes; echo $? >&2) | head -n 1'),
    stdout: 'y\n',
    stderr: '141\n',
  },
  { name: 'files: 0, 1 and 2 are open, and nothing else', ...openFiles },
  { name: 'files: the same with -i', ...openFiles, stdin: Buffer.alloc(0) },
  {
    name: 'terminal: none, and none in control',
    argv: sh('for n in 0 1 2; do test -t $n && echo $n; done; (: </dev/tty) 2>/dev/null || echo none'),
    stdout: 'none\n',
  },
  {
    name: 'group: it leads a group and a session of its own',
    argv: sh(
      'read -r pid _ _ _ group session _ < /proc/$$/stat; test $pid = $$ && echo $((group - pid)) $((session - pid))',
    ),
    stdout: '0 0\n',
  },
  { name: 'umask is the usual one', argv: sh('umask'), stdout: '0022\n' },
  { name: 'limits: open files', argv: sh('test "$(ulimit -n)" -ge 1024 && echo enough'), stdout: 'enough\n' },
  {
    name: 'limits: core files are as in a shell here',
    argv: sh('ulimit -c'),
    stdout: /^(0|unlimited)\n$/,
    differs: { why: 'limits are those of the agent, not of an engine' },
  },
  {
    name: 'niceness is none',
    argv: ['nice'],
    stdout: /^\d+\n$/,
    differs: { why: 'a child of the gateway has its niceness' },
  },
  {
    name: 'left behind: what runs in the background is ended with it',
    argv: sh('sleep 20 & echo done'),
    stdout: 'done\n',
    differs: { why: 'engines leave it running, and wait for its output; ours ends with the process, use --detach' },
  },
  {
    name: 'left behind: without our output',
    argv: sh('sleep 20 >/dev/null 2>&1 </dev/null & echo done'),
    stdout: 'done\n',
  },
]

export const CASES: readonly Case[] = [
  ...[...ARGV, ...EXITS, ...STARTS, ...ENVIRONMENT, ...STATE],
  ...[...OUTPUT, ...INPUT].map((one) => ({ ...one, built: true })),
]
