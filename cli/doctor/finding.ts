/** One thing that was looked at, and what mends it when it is not well. */
export interface Finding {
  name: string
  ok: boolean
  /** What was found. */
  detail: string
  /** What to do, when it is not well. */
  fix?: string
}

export const ok = (name: string, detail: string): Finding => ({ name, ok: true, detail })
export const bad = (name: string, detail: string, fix: string): Finding => ({ name, ok: false, detail, fix })

/** Less than this is not enough for snapshots, checkpoints and results. */
export const LOW_DISK_BYTES = 256 * 1024 ** 2
