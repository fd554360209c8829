/** Replaces known secret values in everything that is said. */
import type { Secrets } from '../../protocol/task.ts'

/** Shorter values would mask ordinary words. */
const MIN_LENGTH = 6
const MASK = '***'

export type Mask = <T>(value: T) => T

/** @returns a function that copies a JSON value with every secret in its strings masked */
export function createMask(secrets: Secrets): Mask {
  const values = Object.values(secrets)
    .flatMap((value) => [value, ...value.split('\n')])
    .map((value) => value.trim())
    .filter((value) => value.length >= MIN_LENGTH)
    .sort((a, b) => b.length - a.length) // a value that holds another goes first
  if (values.length === 0) return (value) => value
  const pattern = new RegExp([...new Set(values)].map(escapePattern).join('|'), 'g')
  const mask = (value: unknown): unknown => {
    if (typeof value === 'string') return value.replace(pattern, MASK)
    if (Array.isArray(value)) return value.map(mask)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key.replace(pattern, MASK), mask(item)]))
  }
  return mask as Mask
}

const escapePattern = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
