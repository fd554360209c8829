/** What the documents point at is there: links to files, headings of links, and paths in `code`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const DOCUMENTS = [
  'README.md',
  ...readdirSync(join(PROJECT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => `docs/${file}`),
]
const TOP = readdirSync(PROJECT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !['node_modules', 'dist', 'out'].includes(entry.name))
  .map(({ name }) => name)

/** A decision tells how it was when it was taken; only its links have to hold. */
const isHistory = (document: string) => document.startsWith('docs/decisions/')

function brokenIn(document: string, text: string): string[] {
  const broken: string[] = []
  for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    const [path = '', heading] = target.split('#')
    if (/^[a-z]+:/.test(target)) continue
    const file = path === '' ? join(PROJECT, document) : join(PROJECT, dirname(document), path)
    if (!existsSync(file)) broken.push(`link ${target}`)
    else if (heading !== undefined && !anchorsOf(readFileSync(file, 'utf8')).includes(heading))
      broken.push(`link ${target}`)
  }
  if (isHistory(document)) return broken
  for (const [, code = ''] of withoutBlocks(text).matchAll(/`([^`\n]+)`/g)) {
    if (isOurPath(code) && !existsSync(join(PROJECT, code))) broken.push(`path ${code}`)
  }
  return broken
}

/** A path from the top of the project; NAME and * stand for something. */
function isOurPath(code: string): boolean {
  const [top = '', ...rest] = code.split('/')
  return rest.length > 0 && TOP.includes(top) && /^[\w./-]+$/.test(code) && !/[A-Z]{3,}/.test(code.replace(/\.md$/, ''))
}

const withoutBlocks = (text: string) => text.replace(/^```[\s\S]*?^```/gm, '')

function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

test.each(DOCUMENTS)('%s points at files that are there', (document) => {
  expect(brokenIn(document, readFileSync(join(PROJECT, document), 'utf8'))).toEqual([])
})

describe('the search for broken paths', () => {
  test('finds files, folders and headings that are not there', () => {
    const text = 'see [a](gone.md), [b](security.md#no-such), `gateway/gone.ts`, `test/gone/`'
    expect(brokenIn('docs/x.md', text)).toEqual([
      'link gone.md',
      'link security.md#no-such',
      'path gateway/gone.ts',
      'path test/gone/',
    ])
  })

  test('leaves alone what is no path of ours', () => {
    const text = [
      '[a](https://example.org/x.md) [b](security.md) `cli/commands/NAME.ts` `refs/heads/result`',
      '```sh\ncat `test/gone`\n```',
      '`gateway/*.ts` `docs/security.md`',
    ].join('\n')
    expect(brokenIn('docs/x.md', text)).toEqual([])
  })

  test('covers the page for maintainers', () => {
    expect(DOCUMENTS.map((document) => relative('docs', document))).toContain('maintaining.md')
  })
})
