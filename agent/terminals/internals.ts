/**
 * What the screen needs of xterm.js beyond its public interface: a terminal's state that can be set by escape sequences but
 * not asked for. The package is pinned to one version, and the tests compare every one of these.
 */
import type { Terminal } from '@xterm/headless'

/** Colours and flags of a cell or of what is written next. */
export interface Attributes {
  isBold(): number
  isDim(): number
  isItalic(): number
  isUnderline(): number
  isBlink(): number
  isInverse(): number
  isInvisible(): number
  isStrikethrough(): number
  isOverline(): number
  isFgRGB(): boolean
  isBgRGB(): boolean
  isFgPalette(): boolean
  isBgPalette(): boolean
  getFgColor(): number
  getBgColor(): number
}

export type Charset = Record<string, string> | undefined

export interface InternalBuffer {
  x: number
  y: number
  ybase: number
  scrollTop: number
  scrollBottom: number
  tabs: Record<number, boolean>
  savedX: number
  savedY: number
  savedCurAttrData: Attributes
  savedCharset: Charset
}

interface Internals {
  buffers: { normal: InternalBuffer; alt: InternalBuffer }
  _inputHandler: {
    _curAttrData: Attributes
    /** Synchronous, as long as nobody registers an asynchronous handler. @throws what a fault of xterm.js throws */
    parse(bytes: Uint8Array): void
    _parser: { currentState: number; reset(): void }
    _utf8Decoder: { interim: Uint8Array }
  }
  coreService: {
    isCursorHidden: boolean
    decPrivateModes: { cursorStyle?: 'block' | 'underline' | 'bar'; cursorBlink?: boolean }
  }
  coreMouseService: { activeEncoding: string }
  _charsetService: { glevel: number; charset: Charset; _charsets: Charset[] }
}

export const internalsOf = (terminal: Terminal): Internals => (terminal as unknown as { _core: Internals })._core

/** False in the middle of an escape sequence or of a character. */
export function isBetweenSequences(terminal: Terminal): { sequence: boolean; character: boolean } {
  const { _parser, _utf8Decoder } = internalsOf(terminal)._inputHandler
  return { sequence: _parser.currentState === 0, character: _utf8Decoder.interim[0] === 0 }
}
