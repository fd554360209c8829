/**
 * A gateway that may be a copy of another one holds still: it launches nothing, stops nothing and takes no agent in until
 * an administrator says that the machines are its to command. It is a copy when `restore` made its folder, or when the
 * database is another file than at the last start (`cp -a`, rsync, a volume that was copied file by file).
 */
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { RclaudeError } from '../protocol/errors.ts'
import type { HoldReason } from '../protocol/routes/gateway.ts'
import type { Store } from './store/store.ts'

/** Written by `restore`, removed by the administrator's word. */
export const RESTORED_FILE = 'restored.json'
/** There while a restore goes on. */
export const RESTORING = 'restoring'

const Restored = z.object({ restoredAt: z.string(), takenAt: z.string() })
const HOME = 'home'
const GENERATION = 'generation'

export interface Hold {
  /** Undefined when the gateway is free to act. */
  reason(): HoldReason | undefined
  /** How often this gateway's data were restored or moved, and confirmed. */
  generation(): number
  confirm(): void
}

export function createHold(dataDirectory: string, store: Pick<Store, 'getMeta' | 'setMeta'>): Hold {
  const marker = join(dataDirectory, RESTORED_FILE)
  const home = homeOf(join(dataDirectory, 'gateway.db'))
  const known = store.getMeta(HOME)
  let reason = existsSync(marker) ? restored(marker) : known === undefined || known === home ? undefined : copied()
  const generation = () => Number(store.getMeta(GENERATION) ?? 1)
  // Not at every start: a gateway must come up on a full disk too.
  if (known === undefined && reason === undefined) store.setMeta(HOME, home)
  return {
    reason: () => reason,
    generation,
    confirm() {
      if (reason === undefined) return
      store.setMeta(GENERATION, String(generation() + 1))
      store.setMeta(HOME, home)
      rmSync(marker, { force: true })
      reason = undefined
    },
  }
}

/** Call before anything is made in the folder. @throws RclaudeError `invalid` */
export function refuseHalfRestored(dataDirectory: string): void {
  if (existsSync(join(dataDirectory, RESTORING)))
    throw new RclaudeError(
      'invalid',
      `a restore into ${dataDirectory} goes on or was interrupted: wait for it, or delete the folder and restore again`,
    )
}

export const heldMessage = ({ message }: HoldReason): string =>
  `${message}, and waits for an administrator: rclaude gateway confirm-restore`

function restored(marker: string): HoldReason {
  const said = Restored.safeParse(parse(readFileSync(marker, 'utf8')))
  const from = said.success ? ` of ${said.data.takenAt}` : ''
  return { kind: 'restored', message: `this gateway was restored from a backup${from}` }
}

const copied = (): HoldReason => ({
  kind: 'copied',
  message: "this gateway's data folder was copied or moved to another disk",
})

/** One file on one disk: a copy has another number, or another time of birth. */
function homeOf(file: string): string {
  const { ino, birthtimeNs } = statSync(file, { bigint: true })
  return `${ino}:${birthtimeNs}`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
