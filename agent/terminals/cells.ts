/**
 * The cells of a screen as text and escape sequences. Every row of the screen is drawn at its own place, so that a terminal
 * which thinks a character wider than we do is wrong in one row only. Rows above the screen scroll off its top.
 */
import type { IBuffer, IBufferCell, IBufferLine, Terminal } from '@xterm/headless'
import type { Attributes } from './internals.ts'
import { sgr } from './sgr.ts'

const CSI = '\u001b['
const PLAIN = `${CSI}0m`

/** For a cleared screen with its cursor in the corner and nothing set. */
export function drawCells(terminal: Terminal, buffer: IBuffer, scrollback: number): string {
  const above = Math.min(scrollback, buffer.baseY)
  const drawn: string[] = []
  for (let y = buffer.baseY - above; y < buffer.baseY; y++)
    drawn.push(drawRow(buffer.getLine(y), terminal.cols), '\r\n')
  if (above > 0) drawn.push('\n'.repeat(terminal.rows - 1))
  for (let row = 0; row < terminal.rows; row++) {
    const text = drawRow(buffer.getLine(buffer.baseY + row), terminal.cols)
    if (text !== '') drawn.push(`${CSI}${row + 1}H`, text)
  }
  return drawn.join('')
}

/** Leaves colours as it found them: none. */
function drawRow(line: IBufferLine | undefined, columns: number): string {
  const drawn: string[] = []
  let look = PLAIN
  let blanks = ''
  const wear = (cell: IBufferCell) => {
    const next = sgr(cell as unknown as Attributes)
    if (next !== look) drawn.push(next)
    look = next
  }
  for (let x = 0; x < columns; x++) {
    const cell = line?.getCell(x)
    if (cell === undefined) break
    const isSecondHalf = cell.getWidth() === 0 && line?.getCell(x - 1)?.getWidth() === 2
    if (isSecondHalf) continue
    if (cell.getChars() === '') {
      if (!cell.isBgDefault()) {
        drawn.push(blanks)
        blanks = ''
        wear(cell)
        drawn.push(`${CSI}X`)
      }
      blanks += `${CSI}C`
    } else {
      drawn.push(blanks)
      blanks = ''
      wear(cell)
      drawn.push(cell.getChars())
    }
  }
  if (look !== PLAIN) drawn.push(PLAIN)
  return drawn.join('').replace(/(?:\u001b\[C){2,}/g, (steps) => `${CSI}${steps.length / 3}C`)
}
