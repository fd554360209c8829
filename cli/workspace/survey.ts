/**
 * What a snapshot would send, counted before anything is read or copied: history that the gateway may not have, files that
 * differ from HEAD, files that git does not track.
 */
import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { bytesOf, git, splitNul, textOf } from './git.ts'
import type { Place } from './place.ts'
import type { Scratch } from './scratch.ts'
import { type SecretFile, secretFiles } from './secret-files.ts'
import { except, type Selection } from './selection.ts'

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
  /** Tracked files that differ from HEAD. */
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
  place: Place
  scratch: Scratch
  project: string
  /** As byte strings. */
  untracked: readonly string[]
  selection: Selection
  /** A commit of this project that the gateway got before. */
  sent?: string | undefined
  signal?: AbortSignal | undefined
}

export async function survey(input: SurveyInput): Promise<Survey> {
  const { place, untracked, project } = input
  const [tracked, changed, historyBytes, secrets] = await Promise.all([
    list(input, ['ls-files', '-z']),
    changedPaths(input),
    historySize(input),
    secretFiles(place.root, untracked),
  ])
  return {
    root: place.root,
    project,
    files: new Set(tracked).size + untracked.length,
    historyBytes,
    changed: await sizes(place.root, changed),
    untracked: await sizes(place.root, untracked),
    secrets,
  }
}

function changedPaths(input: SurveyInput): Promise<string[]> {
  const head = input.place.repository?.head
  const paths = ['--', '.', ...except(input.selection.exclude)]
  if (head === undefined) return list(input, ['ls-files', '-z', ...paths])
  return list(input, [
    'diff',
    '--name-only',
    '--no-renames',
    '--no-ext-diff',
    '--ignore-submodules',
    '-z',
    head,
    ...paths,
  ])
}

async function list({ place, scratch, signal }: SurveyInput, args: string[]): Promise<string[]> {
  const { stdout } = await git(args, { mode: 'user', cwd: place.root, env: scratch.workEnv, signal })
  return splitNul(stdout)
}

/** What the bounded history weighs in the user's object store; objects that are missing there cannot be sent either. */
async function historySize({ place, scratch, sent, signal }: SurveyInput): Promise<number> {
  const head = place.repository?.head
  if (head === undefined) return 0
  const own = { mode: 'own', cwd: scratch.directory, env: { GIT_DIR: scratch.gitDir }, signal } as const
  const isHere = async (commit: string) =>
    (await git(['cat-file', '-e', `${commit}^{commit}`], { ...own, answers: [1, 128] })).code === 0
  const known = sent !== undefined && (await isHere(sent)) ? [`^${sent}`] : []
  const args = ['rev-list', '--objects', '--disk-usage', '--missing=allow-any', head, ...known]
  const { stdout, code } = await git(args, { ...own, answers: [128, 129] })
  return code === 0 ? Number(stdout.trim()) : 0 // older than git 2.31: cannot tell
}

/** How many files are looked at side by side. */
const AT_ONCE = 64

async function sizes(root: string, paths: readonly string[]): Promise<SurveyedFile[]> {
  const found: SurveyedFile[] = []
  for (let at = 0; at < paths.length; at += AT_ONCE)
    found.push(
      ...(await Promise.all(
        paths.slice(at, at + AT_ONCE).map(async (path) => ({ path: textOf(path), bytes: await sizeOf(root, path) })),
      )),
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
