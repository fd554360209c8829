/** What two Dockerfiles and the documents have to agree on. They are built and run by `npm run images`. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (file: string) => readFileSync(file, 'utf8')
const gateway = read('Dockerfile.gateway')
const agent = read('Dockerfile.agent')

test('the images build from the same stage, so that it is made once', () => {
  const stage = (text: string) => /^FROM \S+ AS build$[\s\S]*?(?=^FROM)/m.exec(text)?.[0]
  expect(stage(gateway)).toContain('scripts/build.mjs')
  expect(stage(agent)).toBe(stage(gateway))
  const base = (text: string) => /^ARG BASE_IMAGE=(.+)$/m.exec(text)?.[1]
  expect(base(gateway)).toMatch(/^node:\d+\.\d+\.\d+-/)
  expect(base(agent)).toBe(base(gateway))
})

test('the image has the Claude Code that this release was tested with', () => {
  const pinned: string = JSON.parse(read('package.json')).devDependencies['@anthropic-ai/claude-code']
  for (const text of [agent, read('docs/docker.md')]) expect(text).toContain(`@anthropic-ai/claude-code@${pinned}`)
})

test('all that a build reads is let in, and nothing else', () => {
  const [all, ...allowed] = read('.dockerignore').trim().split('\n')
  expect(all).toBe('*')
  expect(allowed).toEqual(expect.arrayContaining(['!package-lock.json', '!scripts', '!agent', '!gateway']))
  for (const name of ['.git', 'node_modules', 'test', '.env']) expect(allowed).not.toContain(`!${name}`)
})
