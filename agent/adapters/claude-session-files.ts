/**
 * Finds the files that `claude --resume ID` needs.
 *
 * A session is kept in `~/.claude/projects/<slug>/<id>.jsonl`; what its sub-agents and large tool results left lies in a
 * folder `<id>` beside it. The slug is the working directory with every character outside a-z, A-Z, 0-9 replaced by `-`;
 * beyond 200 characters it is cut there and a hash follows. The id is unique, and `--resume` finds it under any slug, so
 * we look under all of them and need no slug.
 */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

export async function claudeSessionFiles(run: { home: string; sessionId: string }): Promise<string[]> {
  if (!/^[\w-]+$/.test(run.sessionId)) return [] // it becomes part of a path
  const projects = join(run.home, '.claude', 'projects')
  const found = await Promise.all(
    (await list(projects)).map(async (slug) => {
      const transcript = join(projects, slug, `${run.sessionId}.jsonl`)
      const modifiedMs = await stat(transcript).then(
        ({ mtimeMs }) => mtimeMs,
        () => undefined,
      )
      return modifiedMs === undefined ? [] : [{ transcript, beside: join(projects, slug, run.sessionId), modifiedMs }]
    }),
  )
  // A session that was resumed in another directory is there twice; the newest has all of it.
  const newest = found.flat().sort((a, b) => b.modifiedMs - a.modifiedMs)[0]
  return newest === undefined ? [] : [newest.transcript, ...(await filesUnder(newest.beside))]
}

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => [])
}

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}
