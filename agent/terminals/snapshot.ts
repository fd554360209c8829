/**
 * The whole state of a terminal as bytes that make any other terminal of its size the same: both screens, scrollback, cursor,
 * saved cursors, margins, tab stops, character sets, colours and modes. (xterm.js's own serialize addon knows half of these, and
 * our tests found it wrong where coloured rows are empty and where lines wrap.)
 */
import type { Terminal } from '@xterm/headless'
import { TERMINAL_RESET } from '../../protocol/terminal.ts'
import { drawCells } from './cells.ts'
import { type Charset, type InternalBuffer, internalsOf } from './internals.ts'
import { sgr } from './sgr.ts'

const ESC = '\u001b'
const CSI = `${ESC}[`
const TO_SECOND_SCREEN = `${CSI}?1049h`
const CLEARED = `${ESC}(B\u000f${CSI}m${CSI}2J${CSI}H`
const CHARSET_SLOTS = ['(', ')', '*', '+'] as const
const SHIFTS = ['\u000f', '\u000e', `${ESC}n`, `${ESC}o`] as const
const CURSOR_STYLES = { block: 2, underline: 4, bar: 6 } as const

export function drawScreen(terminal: Terminal, scrollback: number, title: string): string {
  const { buffers } = internalsOf(terminal)
  const { normal, alternate } = terminal.buffer
  const isSecond = terminal.buffer.active.type === 'alternate'
  const parts = [TERMINAL_RESET, drawCells(terminal, normal, scrollback)]
  if (isSecond) {
    // The switch saves the cursor of the first screen, which is restored on the way back.
    parts.push(savedPlace(terminal, buffers.normal), TO_SECOND_SCREEN, CLEARED, drawCells(terminal, alternate, 0))
  }
  const active = isSecond ? buffers.alt : buffers.normal
  parts.push(
    margins(terminal, active),
    tabStops(terminal, active),
    savedPlace(terminal, active),
    `${ESC}7`,
    charsets(terminal),
    cursor(terminal, active),
    modes(terminal),
    title === '' ? '' : `${ESC}]2;${title}\u0007`,
  )
  return parts.join('')
}

const place = (x: number, y: number): string => `${CSI}${Math.max(0, y) + 1};${x + 1}H`

function savedPlace(terminal: Terminal, buffer: InternalBuffer): string {
  const x = Math.min(buffer.savedX, terminal.cols - 1)
  return `${place(x, buffer.savedY - buffer.ybase)}${sgr(buffer.savedCurAttrData)}${ESC}(${designator(buffer.savedCharset)}`
}

function margins(terminal: Terminal, { scrollTop, scrollBottom }: InternalBuffer): string {
  return scrollTop === 0 && scrollBottom === terminal.rows - 1 ? '' : `${CSI}${scrollTop + 1};${scrollBottom + 1}r`
}

function tabStops(terminal: Terminal, { tabs }: InternalBuffer): string {
  const columns = Array.from({ length: terminal.cols }, (_, column) => column)
  if (columns.every((column) => (tabs[column] === true) === (column % 8 === 0))) return ''
  const set = columns.filter((column) => tabs[column] === true).map((column) => `${CSI}${column + 1}G${ESC}H`)
  return `${CSI}3g${set.join('')}`
}

/**
 * What is drawn with counts: a cursor that was restored brings its set along, and what is in the slot then only comes back with the
 * next shift, which is lost here.
 */
function charsets(terminal: Terminal): string {
  const { _charsets, glevel, charset } = internalsOf(terminal)._charsetService
  const inSlot = (index: number) => (index === glevel ? charset : _charsets[index])
  const sets = CHARSET_SLOTS.map((slot, index) => `${ESC}${slot}${designator(inSlot(index))}`)
  return sets.join('') + (SHIFTS[glevel] ?? '')
}

/** Of the character sets that are in use today. */
function designator(charset: Charset): string {
  if (charset?.['`'] === '◆') return '0'
  return charset?.['#'] === '£' ? 'A' : 'B'
}

/** Last of all that moves. A cursor that waits behind the last column gets there by writing that column's cell again. */
function cursor(terminal: Terminal, buffer: InternalBuffer): string {
  const attributes = sgr(internalsOf(terminal)._inputHandler._curAttrData)
  const isRelative = terminal.modes.originMode
  const row = buffer.y - (isRelative ? buffer.scrollTop : 0)
  const origin = isRelative ? `${CSI}?6h` : ''
  if (buffer.x < terminal.cols) return `${origin}${place(buffer.x, row)}${attributes}`
  const line = terminal.buffer.active.getLine(buffer.ybase + buffer.y)
  const last = line?.getCell(terminal.cols - 1)
  const column = last?.getWidth() === 0 ? terminal.cols - 2 : terminal.cols - 1
  const cell = line?.getCell(column)
  const asIs = `${ESC}(B\u000f`
  const drawn = cell === undefined ? '' : `${sgr(cell as never)}${asIs}${cell.getChars() || ' '}${charsets(terminal)}`
  return `${origin}${place(column, row)}${drawn}${attributes}`
}

function modes(terminal: Terminal): string {
  const { coreService, coreMouseService } = internalsOf(terminal)
  const is = terminal.modes
  const style = coreService.decPrivateModes.cursorStyle
  const set = [
    is.insertMode && '4h',
    terminal.options.convertEol && '20h',
    is.applicationCursorKeysMode && '?1h',
    is.applicationKeypadMode && '?66h',
    is.bracketedPasteMode && '?2004h',
    is.reverseWraparoundMode && '?45h',
    is.sendFocusMode && '?1004h',
    !is.wraparoundMode && '?7l',
    is.mouseTrackingMode === 'x10' && '?9h',
    is.mouseTrackingMode === 'vt200' && '?1000h',
    is.mouseTrackingMode === 'drag' && '?1002h',
    is.mouseTrackingMode === 'any' && '?1003h',
    coreMouseService.activeEncoding === 'SGR' && '?1006h',
    coreMouseService.activeEncoding === 'SGR_PIXELS' && '?1016h',
    style !== undefined && `${CURSOR_STYLES[style] - (coreService.decPrivateModes.cursorBlink ? 1 : 0)} q`,
    coreService.isCursorHidden ? '?25l' : '?25h',
    is.synchronizedOutputMode && '?2026h',
  ]
  return set.map((mode) => (mode === false || mode === undefined ? '' : CSI + mode)).join('')
}
