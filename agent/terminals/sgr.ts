/** Select Graphic Rendition: colours and flags as an escape sequence, beginning from none. */
import type { Attributes } from './internals.ts'

export function sgr(attributes: Attributes): string {
  const codes = [0]
  const flag = (isSet: number, code: number) => isSet !== 0 && codes.push(code)
  flag(attributes.isBold(), 1)
  flag(attributes.isDim(), 2)
  flag(attributes.isItalic(), 3)
  flag(attributes.isUnderline(), 4)
  flag(attributes.isBlink(), 5)
  flag(attributes.isInverse(), 7)
  flag(attributes.isInvisible(), 8)
  flag(attributes.isStrikethrough(), 9)
  flag(attributes.isOverline(), 53)
  if (attributes.isFgRGB()) codes.push(38, 2, ...rgb(attributes.getFgColor()))
  else if (attributes.isFgPalette()) codes.push(...palette(attributes.getFgColor(), 30))
  if (attributes.isBgRGB()) codes.push(48, 2, ...rgb(attributes.getBgColor()))
  else if (attributes.isBgPalette()) codes.push(...palette(attributes.getBgColor(), 40))
  return `\u001b[${codes.join(';')}m`
}

const rgb = (color: number) => [(color >> 16) & 255, (color >> 8) & 255, color & 255]

function palette(color: number, base: 30 | 40): number[] {
  if (color < 8) return [base + color]
  if (color < 16) return [base + 60 + color - 8]
  return [base + 8, 5, color]
}
