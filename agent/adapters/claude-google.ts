/** Google's libraries want the credentials of Vertex AI in a file; a task brings what is in it as a secret. */
import { join } from 'node:path'
import { GOOGLE_JSON } from '../../protocol/model.ts'
import { writeAs } from '../processes/belongings.ts'
import type { WorkUser } from '../processes/child.ts'

/** Beside the workspace, so that nothing of it is in a patch; it goes with the placement. */
export async function withGoogleFile(
  env: Record<string, string>,
  home: string,
  user?: WorkUser,
): Promise<Record<string, string>> {
  const { [GOOGLE_JSON]: json, ...rest } = env
  if (json === undefined) return env
  const file = join(home, '.config', 'rclaude', 'google.json')
  await writeAs(user, file, json)
  return { ...rest, GOOGLE_APPLICATION_CREDENTIALS: file }
}
