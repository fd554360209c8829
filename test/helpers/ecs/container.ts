/** What a task runs: a real process, started with the environment of a container and nothing else, and ended as ECS ends one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findByEnvironment } from '../../../host/processes.ts'

/** Stands for an image: what is started from it, in a folder that stands for its file system. */
export type Image = (container: {
  folder: string
  env: Record<string, string>
  command: readonly string[] | undefined
}) => {
  argv: readonly [string, ...string[]]
  env: Record<string, string>
}

const METADATA = 'ECS_CONTAINER_METADATA_URI_V4'

export class Container {
  /** Of its first process, null when a signal ended it. */
  readonly exited: Promise<number | null>
  readonly #folder = mkdtempSync(join(tmpdir(), 'rclaude-ecs-task-'))
  readonly #child: ChildProcess
  readonly #metadata: string

  constructor(image: Image, env: Record<string, string>, command: readonly string[] | undefined, metadata: string) {
    this.#metadata = metadata
    const made = image({ folder: this.#folder, env: { ...env, [METADATA]: metadata }, command })
    const [file, ...args] = made.argv
    this.#child = spawn(file, args, { cwd: this.#folder, env: made.env, stdio: 'ignore', detached: true })
    this.exited = new Promise((settle) => {
      this.#child.once('exit', (code) => settle(code))
      this.#child.once('error', () => settle(127))
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** To its first process, as a container gets it. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** All that it ever started, as when a container's name space ends; and its file system. */
  async end(): Promise<void> {
    for (;;) {
      const left = await findByEnvironment(METADATA, this.#metadata)
      for (const pid of left) kill(pid)
      if (left.length === 0) break
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await this.exited
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // ended meanwhile
  }
}
