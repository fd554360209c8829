/** Query parameters that several routes share: lists that come page by page, and flags. */
import { z } from 'zod'

/** Most tasks or audit rows in one page. */
export const MAX_PAGE = 500

export const page = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
  cursor: z.string().max(200).optional(),
}

/** `?follow`, `?follow=1`, `?follow=true` */
export const flag = z
  .enum(['0', '1', 'true', 'false', ''])
  .transform((text) => text === '1' || text === 'true' || text === '')
  .default(false)
