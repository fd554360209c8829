/** Google's libraries want the credentials of Vertex AI in a file; a task brings what is in it as a secret. */
import { chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GOOGLE_JSON } from '../../protocol/model.ts'

/** Beside the workspace, so that nothing of it is in a patch; it goes with the placement. */
export async function withGoogleFile(
  env: Record<string, string>,
  home: string,
  user?: { uid: number; gid: number },
): Promise<Record<string, string>> {
  const { [GOOGLE_JSON]: json, ...rest } = env
  if (json === undefined) return env
  const folder = join(home, '.config', 'rclaude')
  const file = join(folder, 'google.json')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeFile(file, json, { mode: 0o600 })
  if (user !== undefined) await Promise.all([folder, file].map((path) => chown(path, user.uid, user.gid)))
  return { ...rest, GOOGLE_APPLICATION_CREDENTIALS: file }
}
