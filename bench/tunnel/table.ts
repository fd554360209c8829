/** Tables as data, and how they are printed: columns aligned, and MISS at the end of a row that does not reach its number. */

export interface Table {
  name: string
  title: string
  columns: readonly string[]
  rows: Row[]
  /** What a reader must know to judge the numbers. */
  notes: string[]
}

export interface Row {
  /** The first is the row's name; what is undefined or missing is printed as a dash. */
  cells: Array<string | undefined>
  /** What the row has to reach, in words, and whether it does. */
  reach?: Reach[]
  /** The same as numbers, for --json. */
  values?: Record<string, number>
}

export interface Reach {
  words: string
  isReached: boolean
}

/** A number that must not be below `least`. */
export const atLeast = (value: number, least: number, unit: string): Reach => ({
  words: `>= ${least}${unit}`,
  isReached: value >= least,
})

/** A number that must not be above `most`. */
export const atMost = (value: number, most: number, unit: string): Reach => ({
  words: `<= ${most}${unit}`,
  isReached: value <= most,
})

export const missesIn = (tables: readonly Table[]): string[] =>
  tables.flatMap(({ name, rows }) =>
    rows.filter(isMissed).map(({ cells, reach }) => `${name}: ${cells[0]} (${wordsOf(reach)})`),
  )

const isMissed = ({ reach = [] }: Row): boolean => reach.some(({ isReached }) => !isReached)

const wordsOf = (reach: Reach[] = []): string => reach.map(({ words }) => words).join(', ')

export function printTable(table: Table): string {
  const columns = [...table.columns, 'to reach']
  const rows = table.rows.map((row) => [...table.columns.map((_, n) => row.cells[n] ?? '-'), wordsOf(row.reach)])
  const widths = columns.map((column, n) => Math.max(column.length, ...rows.map((cells) => cells[n]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, n) =>
        n === 0 || n === columns.length - 1 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0),
      )
      .join('  ')
  const lines = rows.map((cells, n) => {
    const row = table.rows[n]
    return `${line(cells)}${row !== undefined && isMissed(row) ? '  MISS' : ''}`.trimEnd()
  })
  const notes = table.notes.map((note) => `  ${note}`)
  return [table.title, line(columns).trimEnd(), ...lines, ...notes].join('\n')
}

export const ratio = (value: number, base: number | undefined): string | undefined =>
  base === undefined || Number.isNaN(base) || base === 0 ? undefined : `${(value / base).toFixed(2)} x`

export const fixed = (value: number, digits = 2): string | undefined =>
  Number.isNaN(value) ? undefined : value.toFixed(digits)
