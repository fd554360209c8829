/** A sync in words: one line of summary, and what needs the user's eye below it. */
import { type BytePath, toText, toWire } from '../../host/tree/names.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { formatBytes } from '../../protocol/units.ts'
import { oneLine } from '../neutralise.ts'
import { count, type Style } from '../output.ts'
import { didNothing, type Tally } from './tally.ts'

/** Paths that are listed of each kind; `-v` lists all. */
const SHOWN = 10

export const shownPath = (path: BytePath): string => oneLine(toText(path).replaceAll('\n', '^J'))

/** `12 files, 3.1 MiB sent; 2 received; 1 conflict`. */
export function summaryOf(tally: Tally, dryRun: boolean): string {
  const { sent, received, deleted, modes, conflicts, failed, left } = tally
  const parts: string[] = []
  const moved = ({ files, bytes }: Tally['sent'], verb: string) => {
    if (files > 0) parts.push(`${count(files, 'file')}, ${formatBytes(bytes)} ${verb}`)
  }
  moved(sent, dryRun ? 'to send' : 'sent')
  moved(received, dryRun ? 'to receive' : 'received')
  if (deleted.there > 0) parts.push(`${deleted.there} ${dryRun ? 'to delete' : 'deleted'} there`)
  if (deleted.here > 0) parts.push(`${deleted.here} ${dryRun ? 'to delete' : 'deleted'} here`)
  if (modes > 0) parts.push(count(modes, 'mode'))
  if (parts.length === 0)
    parts.push(tally.same === 0 ? 'nothing to do' : `nothing to do, ${count(tally.same, 'file')} alike`)
  const deletes = left.filter(({ why }) => why.startsWith('deleted')).length
  const others = left.length - deletes
  if (deletes > 0) parts.push(`${count(deletes, 'delete')} not carried out (--delete)`)
  if (others > 0) parts.push(`${count(others, 'change')} of the other side left alone (--both)`)
  if (conflicts.length > 0) parts.push(count(conflicts.length, 'conflict'))
  if (failed.length > 0) parts.push(`${failed.length} failed`)
  return parts.join('; ')
}

/** Lines below the summary. */
export function detailsOf(tally: Tally, style: Style, all: boolean): string[] {
  const lines: string[] = []
  const list = <T extends { path: BytePath }>(of: readonly T[], word: string, what: (one: T) => string) => {
    const shown = all ? of : of.slice(0, SHOWN)
    for (const one of shown) lines.push(`  ${word} ${shownPath(one.path)}${style.dim(`  ${oneLine(what(one))}`)}`)
    if (of.length > shown.length) lines.push(style.dim(`  and ${of.length - shown.length} more (-v)`))
  }
  list(tally.conflicts, style.yellow('conflict'), ({ message, copy }) =>
    copy === undefined ? message : `${message}: ${shownPath(copy)}`,
  )
  if (tally.conflicts.some(({ copy }) => copy === undefined))
    lines.push(
      style.dim(
        '  both versions are as they were; --prefer local or --prefer remote decides, and keeps the other beside',
      ),
    )
  list(tally.failed, style.red('failed'), ({ message }) => message)
  list(tally.skipped, style.dim('skipped'), ({ why }) => why)
  if (all) list(tally.left, style.dim('left'), ({ why }) => LEFT[why])
  return lines
}

const LEFT: Record<Tally['left'][number]['why'], string> = {
  'deleted-here': 'deleted here, still there',
  'deleted-there': 'deleted there, still here',
  'changed-here': 'changed here',
  'changed-there': 'changed there',
}

export function jsonOf(tally: Tally, dryRun: boolean) {
  const { again: _, ...rest } = tally
  const wired = <T extends { path: BytePath }>(all: readonly T[]) =>
    all.map((one) => ({ ...one, path: toWire(one.path) }))
  return {
    dryRun,
    ...rest,
    conflicts: tally.conflicts.map(({ path, message, copy }) => ({
      path: toWire(path),
      message,
      ...(copy !== undefined && { copy: toWire(copy) }),
    })),
    left: wired(tally.left),
    skipped: wired(tally.skipped),
    failed: wired(tally.failed),
  }
}

export function exitCodeFor({ conflicts, failed }: Tally): number {
  if (failed.length > 0) return EXIT_CODES.failed
  return conflicts.some(({ copy }) => copy === undefined) ? EXIT_CODES.conflict : 0
}

export const isQuiet = (tally: Tally): boolean =>
  didNothing(tally) && tally.conflicts.length + tally.failed.length === 0
