/**
 * The beginning of an escape sequence, or of a character, whose end has not come yet. It has had no effect on the screen, so
 * whoever is sent the screen needs it before the bytes that follow.
 */
const ESC = 0x1b
const C1_LEAD = 0xc2
/** DCS, SOS, CSI, OSC, PM and APC as characters: U+0090 and so on, which begin with C1_LEAD in UTF-8. */
const C1_INTRODUCERS = new Set([0x90, 0x98, 0x9b, 0x9d, 0x9e, 0x9f])
/** A longer one is a picture or the clipboard: the viewer is told to ignore the rest of it. */
const MAX_BYTES = 4 * 1024
const IGNORED_STRING = Buffer.from('\u001b_')
const NOTHING = Buffer.alloc(0)

export class Unfinished {
  #bytes: Buffer = NOTHING

  get bytes(): Buffer {
    return this.#bytes
  }

  /** After `chunk` was parsed. `sequence`, `character`: whether the parser stands between two of them. */
  after(chunk: Buffer, { sequence, character }: { sequence: boolean; character: boolean }): void {
    if (sequence && character) this.#bytes = NOTHING
    else {
      const start = sequence ? lastLead(chunk) : lastIntroducer(chunk)
      const all = start === -1 ? Buffer.concat([this.#bytes, chunk]) : chunk.subarray(start)
      this.#bytes = all.length > MAX_BYTES ? IGNORED_STRING : Buffer.from(all.filter(hasNoEffectYet))
    }
  }
}

/** Control characters inside a sequence act at once. */
const hasNoEffectYet = (byte: number): boolean => byte >= 0x20 || byte === ESC

function lastLead(chunk: Buffer): number {
  for (let at = chunk.length - 1; at >= 0; at--) if ((chunk[at] ?? 0) >= 0xc0) return at
  return -1
}

function lastIntroducer(chunk: Buffer): number {
  for (let at = chunk.length - 1; at >= 0; at--) {
    if (chunk[at] === ESC) return at
    if (chunk[at] === C1_LEAD && C1_INTRODUCERS.has(chunk[at + 1] ?? 0)) return at
  }
  return -1
}
