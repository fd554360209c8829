/** A git bundle as the snapshot. Git wants it as a file, so it is kept beside the repository while it is read. */
import { createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { formatBytes } from '../../protocol/units.ts'
import { git, isDiskFull } from './git.ts'

export interface BundleOptions {
  repository: string
  /** Where the commit is stored. */
  ref: string
  /** Which of the bundle's refs; by default HEAD, or the only one. */
  from?: string | undefined
  maxBytes: number
  signal?: AbortSignal | undefined
}

/** @throws {RclaudeError} `invalid` when it is no bundle, or does not hold what is asked for */
export async function importBundle(bundle: Readable, options: BundleOptions): Promise<void> {
  const file = `${options.repository}/incoming.bundle`
  try {
    await pipeline(bundle, atMost(options.maxBytes), createWriteStream(file, { mode: 0o600 }), {
      signal: options.signal,
    })
    const from = await chooseRef(file, options)
    const fetched = await git(['fetch', '-q', '--no-tags', '--no-write-fetch-head', file, `+${from}:${options.ref}`], {
      repository: options.repository,
      answers: [1, 128],
      signal: options.signal,
    })
    if (fetched.code !== 0) throw unusable(fetched.stderr)
  } catch (error) {
    if (error instanceof Error && 'code' in error && isDiskFull(String(error.code)))
      throw new RclaudeError('disk_full', "the gateway's disk is full; delete ended tasks with rclaude rm", {
        cause: error,
      })
    throw error
  } finally {
    await rm(file, { force: true })
  }
}

async function chooseRef(file: string, options: BundleOptions): Promise<string> {
  const listed = await git(['bundle', 'list-heads', file], { repository: options.repository, answers: [1, 128] })
  if (listed.code !== 0) throw unusable(listed.stderr)
  const refs = listed.stdout.split('\n').flatMap((line) => line.split(' ')[1] ?? [])
  const wanted = options.from
  const found =
    wanted === undefined
      ? (refs.find((ref) => ref === 'HEAD') ?? (refs.length === 1 ? refs[0] : undefined))
      : refs.find((ref) => ref === wanted || ref === `refs/heads/${wanted}` || ref === `refs/tags/${wanted}`)
  if (found !== undefined) return found
  const held = refs.slice(0, 5).join(', ')
  throw new RclaudeError(
    'invalid',
    `the bundle does not hold ${wanted ?? 'HEAD'}; it holds ${held}. Name one of these as ref`,
  )
}

function unusable(stderr: string): RclaudeError {
  if (isDiskFull(stderr))
    return new RclaudeError('disk_full', "the gateway's disk is full; delete ended tasks with rclaude rm")
  const why = stderr.trim().split('\n').slice(0, 3).join('; ')
  return new RclaudeError('invalid', `the git bundle cannot be used: ${why}. Make one with git bundle create FILE HEAD`)
}

function atMost(maxBytes: number): Transform {
  let bytes = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > maxBytes)
        done(new RclaudeError('too_large', `the bundle is larger than ${formatBytes(maxBytes)} (limits.workspace)`))
      else done(null, chunk)
    },
  })
}
