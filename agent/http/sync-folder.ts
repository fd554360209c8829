/** What the parts of `/sync` share. */
import type { KnownContent } from '../../host/tree/content.ts'
import type { BytePath } from '../../host/tree/names.ts'
import type { Tree } from '../../host/tree/tree.ts'

/** A folder of the workspace that a request is about. */
export interface SyncFolder {
  root: string
  folder: BytePath
  known: KnownContent
  /** Close it. @throws RclaudeError; undefined when there is none and none is to be made */
  open(create: boolean): Tree | undefined
}
