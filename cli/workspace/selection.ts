/**
 * Which files go along besides those that git would add: `exclude` leaves some out, `include` takes ignored ones along.
 * Patterns are those of .gitignore, without `!`; git itself does the matching.
 */
import { RclaudeError } from '../../protocol/errors.ts'

export interface Selection {
  exclude: readonly string[]
  include: readonly string[]
}

export const EVERYTHING: Selection = { exclude: [], include: [] }

/** The same, seen from a submodule at `path`: patterns that lead into it go on there, those without a place count everywhere. */
export function selectionWithin({ exclude, include }: Selection, path: string): Selection {
  const within = (patterns: readonly string[]) =>
    patterns.flatMap((pattern) => {
      const glob = anchored(pattern)
      if (glob.startsWith('**/')) return [pattern]
      return glob.startsWith(`${path}/`) ? [`/${glob.slice(path.length + 1)}`] : []
    })
  return { exclude: within(exclude), include: within(include) }
}

/** As pathspecs that match what a line of .gitignore would: the thing itself and, when it is a folder, all in it. */
export const matching = (patterns: readonly string[]): string[] => pathspecs(patterns.map(anchored), 'top,glob')

/**
 * As pathspecs that leave out what `matching` matches. The first letter is put in brackets: `git add` complains of a path
 * without wildcards that lies in an ignored folder, even of one that it is told to leave out.
 */
export const except = (patterns: readonly string[]): string[] =>
  pathspecs(
    patterns.map((pattern) => anchored(pattern).replace(/^[\w.]/, '[$&]')),
    'top,exclude,glob',
  )

const pathspecs = (globs: readonly string[], magic: string): string[] =>
  globs.flatMap((glob) => [`:(${magic})${glob}`, `:(${magic})${glob}/**`])

/** @throws {RclaudeError} `invalid` */
function anchored(pattern: string): string {
  const refuse = (why: string) => new RclaudeError('invalid', `the pattern "${pattern}" ${why}`)
  if (pattern.includes('\0')) throw refuse('holds a NUL character')
  if (pattern.startsWith('!')) throw refuse('begins with "!": nothing can be taken back; name what is meant instead')
  const path = pattern.replace(/^(\.?\/)+/, '').replace(/\/+$/, '')
  if (path === '' || path === '.') throw refuse('would match everything or nothing')
  if (path.split('/').includes('..')) throw refuse('leaves the folder: patterns are seen from its top')
  const isAnchored = path.includes('/') || pattern.startsWith('/') || pattern.startsWith('./')
  return isAnchored ? path : `**/${path}`
}
