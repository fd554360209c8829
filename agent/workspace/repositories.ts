/**
 * The repositories of one placement, and how git is run on each.
 *
 *   <state>/daemon.git   the daemon's: what was fetched, where commits are made and pushed from; the work user reads it
 *   <private>            the work user's: index and objects of the trees that are made from the workspace
 *   <work>/.git          the coding agent's own, an ordinary repository that it may do with as it likes
 *
 * Whatever reads the workspace runs as the work user. The daemon reads only objects that this produced, never a
 * configuration or an attribute file that the work could have written.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { giveDirectory, removeOf } from '../processes/belongings.ts'
import type { WorkUser } from '../processes/child.ts'
import { type GitOptions, type GitOutput, GLOBAL_CONFIG, git } from './git.ts'

export type ObjectFormat = 'sha1' | 'sha256'
type Options = Partial<
  Pick<GitOptions, 'env' | 'config' | 'transports' | 'input' | 'whisper' | 'onOutput' | 'answers' | 'signal'>
>

/** Brings objects and nothing else: no tags, no submodules from wherever they are, no tidying up. */
export const FETCH = [
  'fetch',
  '-q',
  '--no-tags',
  '--no-write-fetch-head',
  '--no-recurse-submodules',
  '--no-auto-maintenance',
]

export class Repositories {
  readonly work: string
  readonly state: string
  readonly user: WorkUser | undefined
  readonly daemonGit: string
  readonly private: string
  readonly #globalConfig: string

  constructor(options: { work: string; state: string; private?: string | undefined; user?: WorkUser | undefined }) {
    this.work = options.work
    this.state = options.state
    this.user = options.user
    this.daemonGit = join(options.state, 'daemon.git')
    this.private = options.private ?? join(options.state, 'private')
    this.#globalConfig = join(options.state, 'gitconfig')
  }

  async init(objectFormat: ObjectFormat): Promise<void> {
    await mkdir(this.state, { recursive: true, mode: 0o711 })
    await writeFile(this.#globalConfig, GLOBAL_CONFIG, { mode: 0o644 })
    await this.#run(
      ['init', '-q', '--bare', '--template=', `--object-format=${objectFormat}`, this.daemonGit],
      this.state,
    )
    for (const path of [this.private, join(this.private, 'objects'), this.work]) await this.giveDirectory(path)
  }

  /** Makes a directory that belongs to the work user. */
  giveDirectory(path: string): Promise<void> {
    return giveDirectory(path, this.user)
  }

  /** Deletes files of the private folder; what is not there is no fault. */
  forget(...names: string[]): Promise<void> {
    return removeOf(
      this.user,
      names.map((name) => join(this.private, name)),
    )
  }

  /** As the daemon, in its own repository; it sees the objects that the work user made. */
  daemon(args: string[], options: Options = {}): Promise<GitOutput> {
    const env = {
      GIT_DIR: this.daemonGit,
      GIT_ALTERNATE_OBJECT_DIRECTORIES: join(this.private, 'objects'),
      ...options.env,
    }
    return this.#run(args, this.state, { ...options, env })
  }

  /** As the work user, reading files below `tree`; index and new objects go to the private folder. */
  reading(tree: string, index: string, args: string[], options: Options = {}): Promise<GitOutput> {
    const env = {
      GIT_DIR: this.daemonGit,
      GIT_WORK_TREE: tree,
      GIT_INDEX_FILE: join(this.private, index),
      GIT_OBJECT_DIRECTORY: join(this.private, 'objects'),
      GIT_ALTERNATE_OBJECT_DIRECTORIES: join(this.daemonGit, 'objects'),
      ...options.env,
    }
    return this.#run(args, tree, { ...options, env }, this.user)
  }

  /** As the work user, in the coding agent's repository. */
  inWork(args: string[], options: Options = {}): Promise<GitOutput> {
    const env = { GIT_DIR: join(this.work, '.git'), GIT_WORK_TREE: this.work, ...options.env }
    return this.#run(args, this.work, { ...options, env }, this.user)
  }

  #run(args: string[], cwd: string, options: Options = {}, user?: WorkUser): Promise<GitOutput> {
    return git(args, { ...options, cwd, globalConfig: this.#globalConfig, user })
  }
}
