/** The screen that a viewer is sent, against the one that the same output makes from the beginning: cell by cell, and every mode. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Screen } from '../../../agent/terminals/screen.ts'
import { Emulator } from '../../helpers/emulator.ts'

const SIZE = { columns: 20, rows: 6 }
const ESC = '\u001b'
const CSI = `${ESC}[`

/** @returns what a terminal shows after all of it, and what one shows that came after `before` */
function bothAfter(before: Buffer[], after: Buffer) {
  const screen = new Screen(SIZE, 50)
  const whole = new Emulator(SIZE)
  const late = new Emulator(SIZE)
  late.write(Buffer.from(`rubbish${CSI}?1049h${CSI}?1002h${CSI}31mof another program`))
  for (const chunk of before) {
    screen.write(chunk)
    whole.write(chunk)
  }
  late.write(screen.snapshot(true).bytes)
  const then = { whole: whole.state(), late: late.state() }
  whole.write(after)
  late.write(after)
  return { then, now: { whole: whole.state(), late: late.state() } }
}

/** Where xterm.js itself falls over there is nothing to compare. */
const bothAfterOrSkip: typeof bothAfter = (before, after) => {
  try {
    return bothAfter(before, after)
  } catch (error) {
    fc.pre(!(error instanceof TypeError))
    throw error
  }
}

const one = (before: string, after = '') => {
  const { then, now } = bothAfter([Buffer.from(before)], Buffer.from(after))
  expect(then.late).toEqual(then.whole)
  expect(now.late).toEqual(now.whole)
}

describe('a screen that is drawn for a late viewer', () => {
  it.each([
    [
      'text, colours and a cursor in the middle',
      `one\r\n${CSI}1;31mtwo${CSI}38;2;1;2;3;48;5;200m three${CSI}2;2H`,
      'x',
    ],
    [
      'the second screen, and the way back',
      `first${CSI}32m${CSI}?1049h${CSI}44m${CSI}2Jvim${CSI}3;4H`,
      `x${CSI}?1049lback`,
    ],
    ['margins and origin mode', `${CSI}2;4r${CSI}?6h${CSI}2;3Hx`, `${CSI}1;1Hy\n\n\n\nz`],
    ['a cursor that waits behind the last column', `${CSI}3;1H01234567890123456789`, 'wrapped'],
    ['the same behind a wide character', `${CSI}3;1H012345678901234567日`, '本'],
    ['a saved cursor with its colours', `${CSI}4;5H${CSI}35m${ESC}7${CSI}m${CSI}1;1Habc`, `${ESC}8here`],
    ['line drawing characters', `${ESC}(0lqk`, `x${ESC}(Bx`],
    ['line drawing that a restored cursor ends', `${ESC}(0q${ESC}8`, `a${ESC}(0q`],
    ['line drawing that a restored cursor brings back', `${ESC}(0${ESC}7${ESC}(Ba${ESC}8`, `q${ESC}(Bq`],
    ['shifted character sets', `${ESC})0\u000elqk`, 'x\u000fx'],
    ['tab stops', `${CSI}3g${CSI}5G${ESC}H\r`, '\ta\tb'],
    ['mouse, paste, focus, keypad and cursor keys', `${CSI}?1002;1006;2004;1004;1h${ESC}=`, ''],
    ['an invisible bar for a cursor', `${CSI}?25l${CSI}5 q`, 'x'],
    ['insert mode and no wrapping', `abc${CSI}4h${CSI}?7l\r`, 'xyz'],
    ['a title', `${ESC}]0;hello\u0007`, ''],
    ['lines above the screen', Array.from({ length: 30 }, (_, line) => `line ${line}\r\n`).join(''), 'x'],
    ['half of an escape sequence', `text${CSI}1;3`, '1mred'],
    ['half of a title', `text${ESC}]0;half of`, ' a title\u0007more'],
    ['a string that is too long to keep', `text${ESC}P1$${'y'.repeat(9_000)}`, `yy${ESC}\\more`],
  ])('has %s', (_, before, after) => one(before, after))

  it('has half of a character', () => {
    const [a, b] = [Buffer.from('aé日').subarray(0, 5), Buffer.from('aé日').subarray(5)]
    const { now } = bothAfter([a.subarray(0, 4), a.subarray(4)], b)
    expect(now.late).toEqual(now.whole)
  })

  it('is the same after any sequences', () => {
    const number = fc.integer({ min: 0, max: 25 })
    const sequence = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('a', 'bc ', 'longer text', '日本', '\r', '\n', '\r\n', '\b', '\t') },
      fc.tuple(number, number).map(([row, column]) => `${CSI}${row};${column}H`),
      fc
        .tuple(number, fc.constantFrom(...'ABCDGdXP@LMSTJK'))
        .map(([count, final]) => `${CSI}${final === 'J' || final === 'K' ? count % 3 : count}${final}`),
      fc.constantFrom(0, 1, 2, 3, 4, 7, 9, 22, 27, 31, 42, 95, 39, 49).map((code) => `${CSI}${code}m`),
      fc.tuple(number, number).map(([top, bottom]) => `${CSI}${Math.min(top, bottom)};${Math.max(top, bottom)}r`),
      fc
        .tuple(fc.constantFrom(1, 6, 7, 25, 45, 1000, 1002, 1003, 1004, 1006, 1049, 2004), fc.constantFrom('h', 'l'))
        .map(([mode, set]) => `${CSI}?${mode}${set}`),
      fc.constantFrom(
        `${ESC}7`,
        `${ESC}8`,
        `${ESC}M`,
        `${ESC}D`,
        `${ESC}E`,
        `${ESC}H`,
        `${ESC}(0`,
        `${ESC}(B`,
        `${ESC}=`,
        `${ESC}>`,
        `${CSI}4h`,
        `${CSI}4l`,
        `${CSI}!p`,
        `${ESC}c`,
      ),
    )
    const program = fc.array(sequence, { maxLength: 40 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(program, program, fc.nat(), (before, after, cut) => {
        const bytes = Buffer.from(before)
        const at = cut % (bytes.length + 1)
        const { then, now } = bothAfterOrSkip(
          [bytes.subarray(0, at)],
          Buffer.concat([bytes.subarray(at), Buffer.from(after)]),
        )
        expect(then.late).toEqual(then.whole)
        expect(now.late).toEqual(now.whole)
      }),
      { numRuns: 200, examples: [[`${ESC}(0${ESC}8`, 'a', 176_813_915]] },
    )
  })
})
