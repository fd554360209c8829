/** Lists that come page by page. */
import { z } from 'zod'

/** Most tasks or audit rows in one page. */
export const MAX_PAGE = 500

export const page = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
  cursor: z.string().max(200).optional(),
}
