/** One thing that was looked at, and what mends it when it is not well. */
import { z } from 'zod'

export const Finding = z.object({
  name: z.string(),
  ok: z.boolean(),
  /** What was found. */
  detail: z.string(),
  /** What to do, when it is not well. */
  fix: z.string().optional(),
})
export type Finding = z.infer<typeof Finding>

export const ok = (name: string, detail: string): Finding => ({ name, ok: true, detail })
export const bad = (name: string, detail: string, fix: string): Finding => ({ name, ok: false, detail, fix })
