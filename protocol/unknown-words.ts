/**
 * What a newer gateway may say that is not known here yet: another state, outcome, reason, role. Lists of words grow from
 * release to release, so in what clients read they are open: an unknown word is shown as it is, and what surrounds it is
 * checked as always. It is still a plain word, so that nothing can hide in it. Types go on naming the words that are known:
 * whoever looks one up in a table says what an unknown one means. Requests are read strictly, as is all that agents say.
 */
import type { z } from 'zod'

const WORD = /^[A-Za-z][A-Za-z0-9_.:-]{0,62}$/

/** As `safeParse`; where only words are unknown, the value as it came. */
export function readAnswer<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): z.ZodSafeParseResult<z.output<Schema>> {
  const parsed = schema.safeParse(value)
  if (parsed.success || !parsed.error.issues.every((issue) => isUnknownWord(issue, value))) return parsed
  return { success: true, data: value as z.output<Schema> }
}

/** One of several words was expected, as the tag of a union too, and another one came. */
function isUnknownWord(issue: z.core.$ZodIssue, value: unknown): boolean {
  const isChoice =
    (issue.code === 'invalid_value' && issue.values.length > 1) ||
    (issue.code === 'invalid_union' && issue.discriminator !== undefined && issue.errors.length === 0)
  const found = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value)
  return isChoice && typeof found === 'string' && WORD.test(found)
}
