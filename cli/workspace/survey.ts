/**
 * What a snapshot would send, counted before anything is read or copied: history that the gateway may not have, files that
 * differ from HEAD, files that git does not track.
 */
import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { chunksOf } from '../../host/chunks.ts'
import { bytesOf, git, splitNul, textOf } from './git.ts'
import type { Place } from './place.ts'
import { type SecretFile, secretFiles } from './secret-files.ts'
import { except, type Selection } from './selection.ts'
import type { Repository } from './submodules.ts'
import type { OpenWorkTree, Run, WorkTree } from './work-tree.ts'

export interface SurveyedFile {
  path: string
  bytes: number
}

export interface Survey {
  root: string
  /** Same for every snapshot of this project. */
  project: string
  /** Files of the working tree that go along. */
  files: number
  /** Committed objects that were not sent before, as git stores them. */
  historyBytes: number
  /** Tracked files that differ from HEAD, and those of git-lfs whose content is here. */
  changed: SurveyedFile[]
  /** Neither tracked nor ignored, and those that `include` names. */
  untracked: SurveyedFile[]
  /** Of `untracked`, what probably holds a secret. */
  secrets: SecretFile[]
}

/** Everything together, before compression: what goes over the network is at most this. */
export const surveyedBytes = ({ historyBytes, changed, untracked }: Survey): number =>
  [...changed, ...untracked].reduce((sum, { bytes }) => sum + bytes, historyBytes)

export interface SurveyInput {
  /** The superproject first. */
  repositories: readonly [Repository, ...Repository[]]
  project: string
  open: OpenWorkTree
  /** Commits of this project that the gateway got before. */
  sent?: readonly string[] | undefined
  signal?: AbortSignal | undefined
}

/** @throws {RclaudeError} `conflict` in the middle of a merge */
export async function survey({ repositories, project, open, sent = [], signal }: SurveyInput): Promise<Survey> {
  const [top] = repositories
  const whole: Survey = {
    root: top.place.root,
    project,
    files: 0,
    historyBytes: 0,
    changed: [],
    untracked: [],
    secrets: [],
  }
  for (const repository of repositories) {
    const { path } = repository
    const part = await surveyOne(repository.place, await open(repository))
    const placed = <File extends { path: string }>(files: readonly File[]): File[] =>
      path === '' ? [...files] : files.map((file) => ({ ...file, path: `${path}/${file.path}` }))
    whole.files += part.files
    whole.changed.push(...placed(part.changed))
    whole.untracked.push(...placed(part.untracked))
    whole.secrets.push(...placed(part.secrets))
  }
  whole.historyBytes = await historySize(repositories, sent, signal)
  return whole
}

type Part = Pick<Survey, 'files' | 'changed' | 'untracked' | 'secrets'>

async function surveyOne(place: Place, workTree: WorkTree): Promise<Part> {
  const { selection, run, tracked, lfs } = workTree
  const untracked = [...new Set([...workTree.untracked.found, ...workTree.untracked.included])]
  // What git-lfs keeps travels as what it is here, where HEAD has a pointer.
  const changed = new Set([...(await changedPaths(place, selection, run)), ...lfs.real])
  return {
    files: tracked + untracked.length,
    changed: await sizes(place.root, [...changed]),
    untracked: await sizes(place.root, untracked),
    secrets: await secretFiles(place.root, untracked),
  }
}

async function changedPaths({ repository }: Place, { exclude }: Selection, run: Run): Promise<string[]> {
  const paths = ['--', '.', ...except(exclude)]
  const args =
    repository?.head === undefined
      ? ['ls-files', '-z', ...paths]
      : [
          ...['diff', '--name-only', '--no-renames', '--no-ext-diff', '--ignore-submodules', '-z'],
          repository.head,
          ...paths,
        ]
  // As the user's own git sees it: with git-lfs off, each of its files would count as changed.
  return splitNul((await run(args, undefined, undefined, [])).stdout)
}

/** What the bounded history weighs in the user's object stores; objects that are missing there cannot be sent either. */
async function historySize(
  repositories: readonly [Repository, ...Repository[]],
  sent: readonly string[],
  signal?: AbortSignal,
): Promise<number> {
  const heads = repositories.flatMap(({ place }) => place.repository?.head ?? [])
  if (heads.length === 0) return 0
  const { scratch } = repositories[0]
  const own = { mode: 'own', cwd: scratch.directory, env: { GIT_DIR: scratch.gitDir }, signal } as const
  const isHere = async (commit: string) =>
    (await git(['cat-file', '-e', `${commit}^{commit}`], { ...own, answers: [1, 128] })).code === 0
  const known: string[] = []
  for (const commit of sent) if (await isHere(commit)) known.push(`^${commit}`)
  const args = ['rev-list', '--objects', '--disk-usage', '--missing=allow-any', ...heads, ...known]
  const { stdout, code } = await git(args, { ...own, answers: [128, 129] })
  return code === 0 ? Number(stdout.trim()) : 0 // older than git 2.31: cannot tell
}

/** How many files are looked at side by side. */
const AT_ONCE = 64

async function sizes(root: string, paths: readonly string[]): Promise<SurveyedFile[]> {
  const found: SurveyedFile[] = []
  for (const chunk of chunksOf(paths, AT_ONCE))
    found.push(
      ...(await Promise.all(chunk.map(async (path) => ({ path: textOf(path), bytes: await sizeOf(root, path) })))),
    )
  return found
}

/** What is gone weighs nothing. */
async function sizeOf(root: string, path: string): Promise<number> {
  const found: Stats | undefined = await lstat(Buffer.concat([Buffer.from(`${root}/`), bytesOf(path)])).catch(
    () => undefined,
  )
  return found?.isFile() === true ? found.size : 0
}
