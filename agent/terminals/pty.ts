/**
 * A child on a pseudo-terminal: leader of its own session, with the terminal as its controlling one. Its output, errors
 * included, is one stream, and its input another; both are the terminal's other end.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { Readable, Writable } from 'node:stream'
import { ReadStream } from 'node:tty'
import type { ProcessExit, TerminalSize } from '../../protocol/process.ts'
import { CHILD_MARKER, type Child, type ChildOptions, RunningChild } from '../processes/child.ts'
import { enterable, findProgram } from '../processes/program.ts'
import { ptyBinding } from './native.ts'

export interface PtyChild extends Child {
  readonly stdin: Writable
  /** The kernel tells the process by SIGWINCH. */
  resize(size: TerminalSize): void
}

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]))

/** @throws RclaudeError `unsupported`; an error with code ENOENT or EACCES for the program */
export async function startPty(options: Omit<ChildOptions, 'stdin'> & { size: TerminalSize }): Promise<PtyChild> {
  const binding = ptyBinding()
  if (options.argv[0] === undefined) throw new TypeError('argv is empty')
  const marker = randomBytes(12).toString('hex')
  const env: Record<string, string> = { ...options.env, [CHILD_MARKER]: marker }
  // After the fork nobody could tell that there is no such program.
  const found = await findProgram(options.argv[0], options.cwd, env.PATH, options.user)
  const start = await enterable({ argv: [found, ...options.argv.slice(1)], cwd: options.cwd }, env.PATH, options.user)
  const [program = '', ...args] = start.argv
  const { uid, gid } = options.user ?? { uid: -1, gid: -1 }
  const pairs = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const { columns, rows } = options.size
  let fd = -1
  let pid = -1
  const exited = new Promise<ProcessExit>((settle) => {
    const onExit = (code: number, signal: number) =>
      settle(signal === 0 ? { code, signal: null } : { code: null, signal: signalNames.get(signal) ?? `SIG${signal}` })
    const fork = () => binding.fork(program, args, pairs, start.cwd, columns, rows, uid, gid, true, '', onExit)
    const forked = options.user === undefined ? fork() : withoutGroups(fork)
    fd = forked.fd
    pid = forked.pid
  })
  const terminal = new ReadStream(fd)
  terminal.on('error', () => {}) // EIO: nobody holds the other side any more
  const stdin = inputOf(terminal)
  const child = new RunningChild({
    pid,
    marker,
    stdin,
    stdout: terminal,
    stderr: Readable.from([]),
    exited,
    user: options.user,
    interrupt: 'SIGHUP', // a shell on a terminal ignores SIGINT and SIGTERM, and passes this one on to its jobs
  })
  const resize = (size: TerminalSize) => {
    if (!terminal.destroyed) binding.resize(fd, size.columns, size.rows)
  }
  return Object.assign(child, { stdin, resize })
}

/**
 * The binding changes user and group of the child and leaves it our further groups, which may be root's. A child of
 * `spawn` loses them; so does this one: between the two calls nothing else of ours runs.
 */
function withoutGroups<Result>(fork: () => Result): Result {
  const groups = process.getgroups?.() ?? []
  process.setgroups?.([])
  try {
    return fork()
  } finally {
    process.setgroups?.(groups)
  }
}

/** Ending it ends nothing: a terminal's end of input is a key, and its clients come and go. */
function inputOf(terminal: ReadStream): Writable {
  const input = new Writable({
    highWaterMark: 64 * 1024,
    write(chunk: Buffer, _encoding, done) {
      if (terminal.destroyed) done()
      else terminal.write(chunk, () => done())
    },
  })
  return Object.assign(input, { end: () => input })
}
