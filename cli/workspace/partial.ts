/** Partial clones fetch objects when they are needed. The gateway needs all of HEAD, and only what is here can be sent. */
import { RclaudeError } from '../../protocol/errors.ts'
import { git } from './git.ts'
import type { Place } from './place.ts'

/** @throws {RclaudeError} `invalid` when files of HEAD are not here, as outside of a sparse checkout */
export async function refuseMissingObjects(place: Place, signal?: AbortSignal): Promise<void> {
  const { repository } = place
  if (repository?.partial !== true || repository.head === undefined) return
  const args = ['rev-list', '--objects', '--missing=print', '--no-object-names', '--max-count=1', repository.head]
  const listed = await git(args, { mode: 'user', cwd: place.root, env: { GIT_DIR: repository.gitDir }, signal })
  const missing = listed.stdout.split('\n').filter((line) => line.startsWith('?')).length
  if (missing === 0) return
  throw new RclaudeError(
    'invalid',
    `${place.root} is a partial clone that lacks ${missing} file${missing === 1 ? '' : 's'} of its HEAD; git -C '${place.root}' archive HEAD > /dev/null fetches ${missing === 1 ? 'it' : 'them'}, then try again`,
  )
}
