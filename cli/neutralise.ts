/**
 * Text that came from a task must not drive the user's terminal (kubectl's CVE-2021-25743 is the warning): colours are
 * dropped, every other control character is shown instead of sent. So are the characters that reorder what one reads.
 */

/** Colours and weights, which programs print all the time. They are dropped rather than shown. */
const SGR = /(?:\u001b\[|\u009b)[0-9;:]*m/g
/** C0 but tab and newline, DEL, C1, and the bidirectional and invisible formatting characters. */
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

/** Keeps lines and tabs. */
export function neutralise(text: string): string {
  return text.replace(/\r+\n/g, '\n').replace(/\r/g, '\n').replace(SGR, '').replace(CONTROL, shown)
}

/** One line of at most `max` columns, with an ellipsis when something was cut. */
export function oneLine(text: string, max = Number.POSITIVE_INFINITY): string {
  return truncate(neutralise(text).replace(/\s+/g, ' ').trim(), max)
}

/** JSON whose text cannot drive a terminal either; it parses to the same value. */
export function safeJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    escaped,
  )
}

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

function shown(character: string): string {
  const code = character.charCodeAt(0)
  if (code < 0x20) return `^${String.fromCharCode(code + 0x40)}`
  if (code === 0x7f) return '^?'
  return `<U+${code.toString(16).toUpperCase().padStart(4, '0')}>`
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u
const ZERO = /\p{Mn}|\p{Me}|[\u200d\ufe0f]/u

/** Columns that a terminal gives to text without control characters. */
export function width(text: string): number {
  let columns = 0
  for (const character of text) columns += columnsOf(character)
  return columns
}

const columnsOf = (character: string): number =>
  character >= ' ' && character <= '~' ? 1 : ZERO.test(character) ? 0 : WIDE.test(character) ? 2 : 1

/** Cuts to `max` columns. */
export function truncate(text: string, max: number): string {
  if (max === Number.POSITIVE_INFINITY || width(text) <= max) return text
  let kept = ''
  let columns = 0
  for (const character of text) {
    columns += columnsOf(character)
    if (columns > max - 1) break
    kept += character
  }
  return `${kept.trimEnd()}…`
}
