/**
 * Everything that the bench starts, and the end of it. Workers are scripts of this folder, asked over Node's IPC; they
 * end when the bench ends, however that happens. Whatever else carries our folder's name in its command line or
 * environment (agents, sshd) is looked up and killed at the end.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Answer, Calls } from './workers/serve.ts'

/** A call of a worker that takes longer than this is a fault of the bench. */
const CALL_TIMEOUT_MS = 180_000
/** For goodbyes, and between the first look for what is left and giving up. */
const END_TIMEOUT_MS = 10_000

export interface Worker<C extends Calls> {
  readonly pid: number
  call<Name extends keyof C & string>(
    name: Name,
    argument: Parameters<C[Name]>[0],
  ): Promise<Awaited<ReturnType<C[Name]>>>
  stop(): Promise<void>
}

export class Children {
  readonly directory = mkdtempSync(join(tmpdir(), 'rclaude-bench-'))
  readonly #children = new Set<ChildProcess>()
  readonly #goodbyes: Array<() => Promise<void>> = []

  /** Starts dist/bench/NAME.js. */
  fork<C extends Calls>(name: string, env: NodeJS.ProcessEnv = {}, execArgv: string[] = []): Worker<C> {
    const child = fork(scriptOf(name), [], {
      execArgv,
      env: { PATH: process.env.PATH, ...env },
      serialization: 'advanced',
    })
    this.#add(child)
    return workerOf<C>(name, child)
  }

  /** Starts any program with an IPC channel when `stdio` names one. */
  spawn(program: string, args: string[], options: Parameters<typeof spawn>[2]): ChildProcess {
    const child = spawn(program, args, options)
    this.#add(child)
    return child
  }

  /** Done before anything is killed; what takes too long is killed all the same. */
  beforeEnd(goodbye: () => Promise<void>): void {
    this.#goodbyes.push(goodbye)
  }

  /** Ends everything and removes the folder. */
  async close(): Promise<void> {
    const patience = new Promise((resolve) => setTimeout(resolve, END_TIMEOUT_MS))
    await Promise.race([Promise.allSettled(this.#goodbyes.map((goodbye) => goodbye())), patience])
    await Promise.all([...this.#children].map((child) => end(child, 'SIGKILL')))
    const deadline = Date.now() + END_TIMEOUT_MS
    for (let left = this.#left(); left.length > 0 && Date.now() < deadline; left = this.#left()) {
      for (const pid of left) kill(pid)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 })
  }

  #add(child: ChildProcess): void {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    child.on('error', () => this.#children.delete(child))
  }

  #left(): number[] {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
      .filter((pid) =>
        ['environ', 'cmdline'].some((name) => readQuietly(`/proc/${pid}/${name}`).includes(this.directory)),
      )
      .map(Number)
  }
}

export const scriptOf = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url))

/** Resolves when it is gone. */
export function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve()
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  return gone
}

/** The calling side of workers/serve.ts. */
export function workerOf<C extends Calls>(name: string, child: ChildProcess): Worker<C> {
  let lastId = 0
  const waiting = new Map<number, (answer: Answer | Error) => void>()
  child.on('message', (answer: Answer) => waiting.get(answer.id)?.(answer))
  child.once('exit', (code, signal) => {
    for (const settle of waiting.values()) settle(new Error(`${name} ended with ${signal ?? code}`))
  })
  return {
    pid: child.pid ?? 0,
    call(call, argument) {
      const id = ++lastId
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => settle(new Error(`${name} did not answer ${call} in time`)), CALL_TIMEOUT_MS)
        const settle = (answer: Answer | Error): void => {
          clearTimeout(timer)
          waiting.delete(id)
          if (answer instanceof Error) reject(answer)
          else if (answer.error !== undefined) reject(new Error(`${name}: ${answer.error}`))
          else resolve(answer.result as Awaited<ReturnType<C[typeof call]>>) // our own worker's answer to this very call
        }
        waiting.set(id, settle)
        if (!child.connected) return settle(new Error(`${name} is gone`))
        child.send({ id, call, argument })
      })
    },
    stop: () => end(child, 'SIGKILL'),
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended meanwhile.
  }
}

function readQuietly(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
