import { expect, test } from 'vitest'
import { COLOURED, count, PLAIN, renderTable, styleFor } from '../../cli/output.ts'
import { roughly } from '../../cli/times.ts'

test('colours follow NO_COLOR, then FORCE_COLOR, then the stream', () => {
  expect(styleFor({ isTTY: true }, {})).toBe(COLOURED)
  expect(styleFor({ isTTY: false }, {})).toBe(PLAIN)
  expect(styleFor({}, {})).toBe(PLAIN)
  expect(styleFor({ isTTY: true }, { NO_COLOR: '1' })).toBe(PLAIN)
  expect(styleFor({ isTTY: true }, { NO_COLOR: '' })).toBe(COLOURED)
  expect(styleFor({ isTTY: false }, { FORCE_COLOR: '1' })).toBe(COLOURED)
  expect(styleFor({ isTTY: true }, { FORCE_COLOR: '0' })).toBe(PLAIN)
  expect(styleFor({ isTTY: false }, { FORCE_COLOR: '1', NO_COLOR: '1' })).toBe(PLAIN)
  expect(styleFor({ isTTY: true }, { TERM: 'dumb' })).toBe(PLAIN)
})

const COLUMNS = [{ title: 'ID' }, { title: 'STATE' }, { title: 'TITLE' }]

test('a table lines its columns up, also under wide characters', () => {
  expect(
    renderTable(
      COLUMNS,
      [
        ['1', '日本', 'one'],
        ['22', 'ended', ''],
      ],
      PLAIN,
    ),
  ).toEqual(['ID  STATE  TITLE', '1   日本   one', '22  ended'])
})

test('a table cuts only its last column, to the terminal', () => {
  const rows = renderTable(COLUMNS, [['1', 'running', 'a title that is much too long']], PLAIN, 24)
  expect(rows[1]).toBe('1   running  a title th…')
})

test('a cell cannot drive the terminal, and a style does not shift the columns', () => {
  const columns = [{ title: 'ID', paint: COLOURED.bold }, { title: 'TITLE' }]
  const [, row] = renderTable(columns, [['1', 'evil\u001b[2J\nline']], COLOURED)
  expect(row).toBe('\u001b[1m1\u001b[22m   evil^[[2J line')
})

test('counts and ages read as people say them', () => {
  expect([count(1, 'file'), count(0, 'file'), count(1234, 'file')]).toEqual(['1 file', '0 files', '1,234 files'])
  expect([-3, 59, 60, 3_599, 7_200, 200_000].map(roughly)).toEqual(['0s', '59s', '1m', '59m', '2h', '2d'])
})
