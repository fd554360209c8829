/**
 * What a program in a task did to the user's own terminal, and how to undo it when we leave: second screen, hidden cursor,
 * mouse reports and so on. Only what is on is turned off: going back from a second screen that was never entered would move the
 * cursor.
 */
const CSI = '\u001b['
/** Longest beginning of a mode change that is kept until its end comes. */
const MAX_CARRY = 64
const SECOND_SCREENS = new Set([47, 1047, 1049])
/** On when nobody touched them: cursor, wrapping. */
const ON_BY_DEFAULT = new Set([7, 25])
const CHANGE = /\u001b\[(?:\?([\d;]*)([hl])|([>=<])([\d;]*)([um])|([0-6]) q|(!p))|(\u001bc)|(\u001b[=>])/g

export class TerminalRestorer {
  #carry = ''
  /** Private modes that differ from what is usual. */
  readonly #changed = new Set<number>()
  #keyboardLevels = 0
  #modifiesKeys = false
  #hasCursorStyle = false
  #hasKeypad = false

  /** Looks at what is written to the user's terminal. */
  see(chunk: Uint8Array): void {
    const text = this.#carry + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString('latin1')
    for (const match of text.matchAll(CHANGE)) this.#apply(match)
    const last = text.lastIndexOf('\u001b')
    const tail = last === -1 ? '' : text.slice(last)
    this.#carry = tail.length <= MAX_CARRY && /^\u001b(?:\[[?>=<!]?[\d; ]*)?$/.test(tail) ? tail : ''
  }

  /** Written last of all. Colours, margins and character sets go in any case: that cannot be seen. */
  toString(): string {
    const modes = [...this.#changed].map((mode) => `${CSI}?${mode}${ON_BY_DEFAULT.has(mode) ? 'h' : 'l'}`)
    return [
      ...modes,
      this.#keyboardLevels > 0 ? `${CSI}<${this.#keyboardLevels}u` : '',
      this.#modifiesKeys ? `${CSI}>4m` : '',
      this.#hasCursorStyle ? `${CSI}0 q` : '',
      this.#hasKeypad ? '\u001b>' : '',
      `\u001b7${CSI}r\u001b8${CSI}m\u001b(B\u000f`,
    ].join('')
  }

  get isOnSecondScreen(): boolean {
    return [...this.#changed].some((mode) => SECOND_SCREENS.has(mode))
  }

  #apply([whole, modes, set, prefix, values = '', final, style]: RegExpMatchArray): void {
    if (modes !== undefined) for (const mode of modes.split(';')) this.#setMode(Number(mode), set === 'h')
    else if (prefix !== undefined && final === 'u') this.#setKeyboard(prefix, Number(values) || 1)
    else if (prefix === '>' && final === 'm') this.#modifiesKeys = /^4;[1-9]/.test(values)
    else if (style !== undefined) this.#hasCursorStyle = style !== '0'
    else if (whole === '\u001b=') this.#hasKeypad = true
    else if (whole === '\u001b>') this.#hasKeypad = false
  }

  #setMode(mode: number, isSet: boolean): void {
    if (mode === 0 || mode === 1048) return
    if (isSet === ON_BY_DEFAULT.has(mode)) this.#changed.delete(mode)
    else this.#changed.add(mode)
  }

  #setKeyboard(prefix: string, count: number): void {
    if (prefix === '>') this.#keyboardLevels++
    else if (prefix === '<') this.#keyboardLevels = Math.max(0, this.#keyboardLevels - count)
  }
}
