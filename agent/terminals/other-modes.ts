/**
 * Modes that a program has set and that the emulator does not keep, since they mean something to a real terminal only: other
 * mouse encodings, keyboard protocols (kitty's, xterm's modifyOtherKeys), colour-scheme reports. Remembered as they were
 * set, so that a viewer who comes later is in the same.
 */
import type { Terminal } from '@xterm/headless'

/** Kept by the emulator, or told in another way. */
const KEPT_ELSEWHERE = new Set([
  1, 3, 6, 7, 9, 12, 25, 45, 47, 66, 1000, 1002, 1003, 1004, 1006, 1016, 1047, 1048, 1049, 2004, 2026,
])
/** A program that sets more private modes than this wants something else. */
const MAX_MODES = 64
const MAX_KEYBOARD_LEVELS = 16

export class OtherModes {
  readonly #modes = new Set<number>()
  readonly #keyboard: number[] = []
  #modifyKeys: number | undefined

  constructor({ parser }: Terminal) {
    const private_ = { prefix: '?' }
    parser.registerCsiHandler({ ...private_, final: 'h' }, (params) => this.#set(params, true))
    parser.registerCsiHandler({ ...private_, final: 'l' }, (params) => this.#set(params, false))
    parser.registerCsiHandler({ prefix: '>', final: 'u' }, ([flags]) => {
      this.#keyboard.push(Number(flags ?? 0))
      if (this.#keyboard.length > MAX_KEYBOARD_LEVELS) this.#keyboard.shift()
      return true
    })
    parser.registerCsiHandler({ prefix: '<', final: 'u' }, ([levels]) => {
      this.#keyboard.splice(-Math.max(1, Number(levels ?? 1)))
      return true
    })
    parser.registerCsiHandler({ prefix: '=', final: 'u' }, ([flags]) => {
      this.#keyboard.splice(-1, 1, Number(flags ?? 0))
      return true
    })
    parser.registerCsiHandler({ prefix: '>', final: 'm' }, ([resource, value]) => {
      if (resource === 4) this.#modifyKeys = value === undefined || value === 0 ? undefined : Number(value)
      return true
    })
    parser.registerEscHandler({ final: 'c' }, () => this.#reset())
  }

  /** What sets them on a terminal that has none of them set. */
  toString(): string {
    const modes = [...this.#modes].map((mode) => `\u001b[?${mode}h`)
    const keyboard = this.#keyboard.map((flags) => `\u001b[>${flags}u`)
    const modifyKeys = this.#modifyKeys === undefined ? '' : `\u001b[>4;${this.#modifyKeys}m`
    return [...modes, ...keyboard, modifyKeys].join('')
  }

  /** False: the emulator handles it too. */
  #set(params: readonly (number | number[])[], isSet: boolean): boolean {
    for (const mode of params) {
      if (typeof mode !== 'number' || KEPT_ELSEWHERE.has(mode)) continue
      if (!isSet) this.#modes.delete(mode)
      else if (this.#modes.size < MAX_MODES) this.#modes.add(mode)
    }
    return false
  }

  #reset(): boolean {
    this.#modes.clear()
    this.#keyboard.length = 0
    this.#modifyKeys = undefined
    return false
  }
}
