/** A terminal emulator as a client's terminal, and all that can be seen of it. */
import headless, { type Terminal } from '@xterm/headless'
import { internalsOf } from '../../agent/terminals/internals.ts'

export class Emulator {
  readonly terminal: Terminal
  #title = ''

  constructor(size: { columns: number; rows: number }) {
    this.terminal = new headless.Terminal({
      cols: size.columns,
      rows: size.rows,
      scrollback: 200,
      allowProposedApi: true,
    })
    this.terminal.onTitleChange((title) => {
      this.#title = title
    })
  }

  /** At once. @throws what a fault of xterm.js throws */
  write(bytes: Uint8Array): void {
    internalsOf(this.terminal)._inputHandler.parse(bytes)
  }

  /** The screen's lines without the spaces at their ends. */
  text(): string[] {
    const { active } = this.terminal.buffer
    return Array.from({ length: this.terminal.rows }, (_, row) =>
      (active.getLine(active.baseY + row)?.translateToString(true) ?? '').trimEnd(),
    )
  }

  /** Every cell with its colours, the cursor, and the modes. */
  state() {
    const { coreService, coreMouseService, _charsetService, buffers } = internalsOf(this.terminal)
    const active = this.terminal.buffer.active.type === 'alternate' ? buffers.alt : buffers.normal
    return {
      screen: this.terminal.buffer.active.type,
      cells: this.#cells(),
      cursor: { x: active.x, y: active.y, hidden: coreService.isCursorHidden },
      margins: [active.scrollTop, active.scrollBottom],
      modes: this.terminal.modes,
      mouse: coreMouseService.activeEncoding,
      style: [coreService.decPrivateModes.cursorStyle, coreService.decPrivateModes.cursorBlink],
      shift: _charsetService.glevel,
      title: this.#title,
    }
  }

  #cells(): string[] {
    const { active } = this.terminal.buffer
    return Array.from({ length: this.terminal.rows }, (_, row) => {
      const line = active.getLine(active.baseY + row)
      return Array.from({ length: this.terminal.cols }, (__, column) => {
        const cell = line?.getCell(column)
        if (cell === undefined) return '?'
        if (cell.getChars() === '') return cell.isBgDefault() ? ' ' : ` [${cell.getBgColorMode()},${cell.getBgColor()}]` // no ink
        const look = [cell.getFgColorMode(), cell.getFgColor(), cell.getBgColorMode(), cell.getBgColor()]
        const flags = [
          cell.isBold(),
          cell.isDim(),
          cell.isItalic(),
          cell.isUnderline(),
          cell.isInverse(),
          cell.isStrikethrough(),
        ]
        return `${cell.getChars() || ' '}${look.some((one) => one > 0) ? `[${look}]` : ''}${flags.some((one) => one) ? `{${flags.map(Boolean).map(Number).join('')}}` : ''}`
      }).join('')
    })
  }
}
