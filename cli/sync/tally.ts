/** What a sync did and left, for the summary and for programs. */
import type { BytePath } from '../../host/tree/names.ts'
import type { Left } from './plan.ts'

export interface Tally {
  sent: { files: number; bytes: number }
  received: { files: number; bytes: number }
  deleted: { here: number; there: number }
  /** Only their permission bits were set. */
  modes: number
  /** `copy` keeps what lost, where the user said whom to prefer. */
  conflicts: { path: BytePath; message: string; copy?: BytePath }[]
  left: Exclude<Left, { why: 'conflict' }>[]
  skipped: { path: BytePath; why: string }[]
  failed: { path: BytePath; message: string }[]
  /** A disk is full: here or there. */
  full: boolean
  /** Files that both sides hold alike now. */
  same: number
  /** Something moved on while we worked: another pass may do it. */
  again: BytePath[]
}

export const emptyTally = (): Tally => ({
  sent: { files: 0, bytes: 0 },
  received: { files: 0, bytes: 0 },
  deleted: { here: 0, there: 0 },
  modes: 0,
  conflicts: [],
  left: [],
  skipped: [],
  failed: [],
  full: false,
  same: 0,
  again: [],
})

/** What was done adds up; of what was left the last pass knows best. */
export function joined(before: Tally, after: Tally): Tally {
  const sum = (a: { files: number; bytes: number }, b: { files: number; bytes: number }) => ({
    files: a.files + b.files,
    bytes: a.bytes + b.bytes,
  })
  return {
    ...after,
    sent: sum(before.sent, after.sent),
    received: sum(before.received, after.received),
    deleted: { here: before.deleted.here + after.deleted.here, there: before.deleted.there + after.deleted.there },
    modes: before.modes + after.modes,
    conflicts: [...before.conflicts.filter(({ copy }) => copy !== undefined), ...after.conflicts],
  }
}

export const didNothing = ({ sent, received, deleted, modes }: Tally): boolean =>
  sent.files + received.files + deleted.here + deleted.there + modes === 0
