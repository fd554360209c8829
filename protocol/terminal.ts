/**
 * Escape sequences that bring a terminal of unknown state back to a known one. The agent sends `TERMINAL_RESET` before it
 * draws a screen; a client sends what of `MODES_OFF` is needed when it leaves. No full reset (ESC c): on a real terminal that
 * would delete what the user had on it before.
 */

/** Mouse, focus, paste and colour-scheme reports, reverse video, synchronised output: all off. */
export const MODES_OFF =
  '\u001b[?9l\u001b[?1000l\u001b[?1002l\u001b[?1003l\u001b[?1005l\u001b[?1006l\u001b[?1015l\u001b[?1016l' +
  '\u001b[?1004l\u001b[?2004l\u001b[?45l\u001b[?5l\u001b[?2026l\u001b[?2031l\u001b[?1l\u001b>\u001b[4l\u001b[20l' +
  '\u001b[=0u\u001b[>4m\u001b[?7h'

/** Ends an open string, leaves the second screen, resets modes, margins, character sets and colours, and clears. */
export const TERMINAL_RESET = `\u001b\\\u001b[?1049l\u001b[!p${MODES_OFF}\u001b[?6l\u001b[r\u001b(B\u001b)B\u001b*B\u001b+B\u000f\u001b[m\u001b[H\u001b[2J`
