/** Hands the files of $RCLAUDE_ARTIFACTS to the gateway, but none that holds a secret of the task. */
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { RclaudeError } from '../protocol/errors.ts'
import { ownFiles, type WorkFiles } from './files/work-files.ts'
import type { Leak, Leaks } from './run/leaks.ts'

/** Most files that are sent: what a gateway takes at most, however it is configured (limits.maxArtifacts). */
const MAX_FILES = 10_000
/** Most files of which it is told why they were not saved; the others are counted. */
const MAX_TOLD = 5

/**
 * @param leaks what no file may hold
 * @param put sends one artifact; its name is the path below the folder
 */
export async function saveArtifacts(
  directory: string,
  leaks: Leaks,
  put: (name: string, size: number, content: Readable) => Promise<void>,
  source: WorkFiles = ownFiles,
): Promise<void> {
  const files = await source.below(directory)
  const problems = files.slice(MAX_FILES).map((name) => `${name} (more than ${MAX_FILES} files)`)
  for (const name of files.slice(0, MAX_FILES)) {
    const path = join(directory, name)
    try {
      const leak = leaks.isEmpty
        ? undefined
        : (leaks.in(name) ?? (await leakIn((await source.open(path)).content, leaks)))
      if (leak !== undefined) {
        problems.push(`${name} (line ${leak.line} holds the secret ${leak.secret})`)
        continue
      }
      const { size, content } = await source.open(path)
      await put(name, size, content).finally(() => content.destroy())
    } catch (error) {
      problems.push(`${name} (${(error as Error).message})`)
    }
  }
  if (problems.length === 0) return
  const told = problems.slice(0, MAX_TOLD)
  const more = problems.length - told.length
  throw new RclaudeError(
    'agent_failed',
    `artifacts were not saved: ${told.join(', ')}${more > 0 ? ` and ${more} more` : ''}`,
  )
}

async function leakIn(content: AsyncIterable<Buffer>, leaks: Leaks): Promise<Leak | undefined> {
  const scan = leaks.scan()
  for await (const chunk of content) scan.push(chunk)
  return scan.end()[0]
}
