/** The arithmetic of docs/cost.md comes out. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const NUMBER = String.raw`\d+(?:\.\d+)?`
const CALCULATION = new RegExp(String.raw`(\(?${NUMBER}(?: [+×/] \(?${NUMBER}\)?)+) = (${NUMBER})`, 'g')

const calculations = [...readFileSync('docs/cost.md', 'utf8').replaceAll(/\s+/g, ' ').matchAll(CALCULATION)]

test('there is arithmetic in it', () => expect(calculations.length).toBeGreaterThan(30))

test.each(calculations.map(([, left = '', right = '']) => [left, right]))('%s = %s', (left, right) => {
  const decimals = right.split('.')[1]?.length ?? 0
  expect(sumOf(left).toFixed(decimals)).toBe(right)
})

/** Sums of products; parentheses hold a sum. */
function sumOf(text: string): number {
  const flat = text.replace(/\(([^()]*)\)/, (_, inner: string) => String(sumOf(inner)))
  return flat.split(' + ').reduce((sum, product) => sum + productOf(product), 0)
}

function productOf(text: string): number {
  const [first = '', ...rest] = text.split(/ (?=[×/])/)
  return rest.reduce(
    (value, part) => (part[0] === '×' ? value * Number(part.slice(2)) : value / Number(part.slice(2))),
    Number(first),
  )
}
