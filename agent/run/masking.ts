/** Replaces known secret values in everything that is said. */
import type { Secrets } from '../../protocol/task.ts'
import { encodingsOf } from './encodings.ts'
import { type Range, SecretFinder } from './secret-finder.ts'

const MASK = '***'

export type Mask = <T>(value: T) => T

/** @returns a function that copies a JSON value with every secret in its strings masked */
export const createMask = (secrets: Secrets): Mask => maskWith(createFinder(secrets))

/** Looks for each secret as a whole, for each of its lines, as a program may print it, and for its usual encodings. */
export const createFinder = (secrets: Secrets): SecretFinder =>
  new SecretFinder(
    Object.values(secrets)
      .flatMap((value) => [value, ...value.split('\n'), ...encodingsOf(value.trim())])
      .map((value) => value.trim()),
  )

export function maskWith(finder: SecretFinder): Mask {
  if (finder.isEmpty) return (value) => value
  const maskText = (text: string) => maskRanges(text, finder.find(text))
  const mask = (value: unknown): unknown => {
    if (typeof value === 'string') return maskText(value)
    if (Array.isArray(value)) return value.map(mask)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [maskText(key), mask(item)]))
  }
  return mask as Mask
}

/** `isContinued`: the mask of a range at the very beginning was said already, with the text before. */
export function maskRanges(text: string, ranges: readonly Range[], isContinued = false): string {
  let masked = ''
  let at = 0
  for (const { from, to } of ranges) {
    masked += text.slice(at, from)
    if (from > 0 || !isContinued) masked += MASK
    at = to
  }
  return masked + text.slice(at)
}
