/**
 * How a command speaks: lines, tables and facts for people, JSON for programs. Cells and facts are neutralised here, so
 * no command can forget it; a style is put on afterwards.
 */
import { once } from 'node:events'
import { oneLine, safeJson, width } from './neutralise.ts'
import type { World } from './world.ts'

export interface Style {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
  cyan(text: string): string
}
export type Paint = (text: string) => string

const sgr =
  (on: number, off: number): Paint =>
  (text) =>
    text === '' ? '' : `\u001b[${on}m${text}\u001b[${off}m`
const asIs: Paint = (text) => text

export const COLOURED: Style = {
  bold: sgr(1, 22),
  dim: sgr(2, 22),
  red: sgr(31, 39),
  green: sgr(32, 39),
  yellow: sgr(33, 39),
  cyan: sgr(36, 39),
}
export const PLAIN: Style = { bold: asIs, dim: asIs, red: asIs, green: asIs, yellow: asIs, cyan: asIs }

/** NO_COLOR (no-color.org) wins over FORCE_COLOR, which wins over what the stream is. */
export function styleFor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): Style {
  if ((env.NO_COLOR ?? '') !== '') return PLAIN
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR === '0' ? PLAIN : COLOURED
  return stream.isTTY === true && env.TERM !== 'dumb' ? COLOURED : PLAIN
}

export interface Column {
  title: string
  /** The last column takes what the terminal has left. */
  paint?: (cell: string) => string
}

export interface Output {
  json: boolean
  style: Style
  /** To stdout; waits when the reader is slow. */
  line(text?: string): Promise<void>
  /** One JSON document, on one line so that it can be read as NDJSON too. */
  data(value: unknown): Promise<void>
  /** To stderr. */
  note(text: string): void
  table(columns: readonly Column[], rows: readonly (readonly string[])[]): Promise<void>
  facts(rows: readonly (readonly [name: string, value: string | undefined, paint?: Paint])[]): Promise<void>
}

export function createOutput(world: Pick<World, 'stdout' | 'stderr' | 'env'>, json: boolean): Output {
  const style = styleFor(world.stdout, world.env)
  const columns = () => (world.stdout.isTTY ? world.stdout.columns : undefined)
  const line = (text = '') => write(world.stdout, `${text}\n`)
  return {
    json,
    style,
    line,
    data: (value) => line(safeJson(value)),
    note: (text) => void world.stderr.write(`${text}\n`),
    table: async (heads, rows) => {
      for (const text of renderTable(heads, rows, style, columns())) await line(text)
    },
    facts: async (rows) => {
      const known = rows.filter((row) => row[1] !== undefined)
      const widest = Math.max(0, ...known.map(([name]) => name.length))
      for (const [name, value, paint = asIs] of known)
        await line(`${style.dim(name.padEnd(widest))}  ${paint(oneLine(value ?? ''))}`)
    },
  }
}

/** @param terminalWidth undefined when nothing is to be cut */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: Style,
  terminalWidth?: number,
): string[] {
  const cells = rows.map((row) => row.map((cell) => oneLine(cell)))
  const widths = columns.map(({ title }, at) => Math.max(title.length, ...cells.map((row) => width(row[at] ?? ''))))
  const last = columns.length - 1
  const before = widths.slice(0, last).reduce((sum, each) => sum + each + 2, 0)
  const room = terminalWidth === undefined ? Number.POSITIVE_INFINITY : Math.max(10, terminalWidth - before)
  const pad = (text: string, at: number) =>
    at === last ? '' : ' '.repeat(Math.max(0, (widths[at] ?? 0) - width(text)))
  const render = (row: readonly string[], paint: (at: number) => Paint | undefined) =>
    row
      .map((cell, at) => {
        const text = at === last ? oneLine(cell, room) : cell
        return (paint(at) ?? asIs)(text) + pad(text, at)
      })
      .join('  ')
      .trimEnd()
  return [
    render(
      columns.map(({ title }) => title),
      () => style.dim,
    ),
    ...cells.map((row) => render(row, (at) => columns[at]?.paint)),
  ]
}

/** Waits until the stream takes more. */
export async function write(stream: NodeJS.WritableStream, data: string | Uint8Array): Promise<void> {
  if (!stream.write(data)) await once(stream, 'drain')
}

/** `3 files`, `1 file`, `10,000 files`. Node takes 15 ms to load what knows how numbers are written elsewhere. */
export const count = (amount: number, noun: string): string =>
  `${String(amount).replace(/\B(?=(\d{3})+$)/g, ',')} ${noun}${amount === 1 ? '' : 's'}`
