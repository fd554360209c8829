import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readProject, withProject } from '../../cli/project-file.ts'
import { projectTemplate, suggest } from '../../cli/project-template.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

/** A repository's folder with this `.rclaude.yaml`. */
function project(text: string): string {
  const root = temporaryDirectory()
  mkdirSync(join(root, '.git'))
  mkdirSync(join(root, 'deep', 'er'), { recursive: true })
  writeFileSync(join(root, '.rclaude.yaml'), text)
  return root
}

const WHOLE = `
agent: claude
model: sonnet
setup: npm ci
check: npm test
image: example.org/build:7
cpu: 2
memory: 4GiB
include: local.json
exclude: [data/, "*.mp4"]
env: { CI: 1, VERBOSE: true, NAME: text }
secrets: [NPM_TOKEN]
limits: { timeout: 30m, idle: 90, budget: 2.5, maxTurns: 40 }
`

test('the file is found from anywhere in the repository, and not above it', async () => {
  const root = project('setup: npm ci')
  for (const folder of [root, join(root, 'deep', 'er')])
    expect(await readProject(folder)).toEqual({ file: join(root, '.rclaude.yaml'), settings: { setup: 'npm ci' } })
  mkdirSync(join(root, 'deep', '.git'))
  expect(await readProject(join(root, 'deep', 'er'))).toBeUndefined()
  expect(await readProject(temporaryDirectory())).toBeUndefined()
})

test('an empty file, or one of comments only, says nothing', async () => {
  for (const text of ['', '# later\n', projectTemplate({})])
    expect((await readProject(project(text)))?.settings).toEqual({})
})

test('what it says fills what the command line leaves open; lists are joined', async () => {
  const found = await readProject(project(WHOLE))
  if (found === undefined) throw new Error('not found')
  const secret = ['NPM_TOKEN=@file']
  expect(withProject({ workspace: true, secret }, found, false)).toEqual({
    workspace: true,
    secret,
    agent: 'claude',
    model: 'sonnet',
    setup: 'npm ci',
    check: 'npm test',
    timeout: 1_800,
    idle: 90,
    budget: 2.5,
    maxTurns: 40,
    include: ['local.json'],
    exclude: ['data/', '*.mp4'],
    env: ['CI=1', 'VERBOSE=true', 'NAME=text'],
  })
  const over = { workspace: true, secret, model: 'opus', check: 'true', timeout: 60, env: ['CI=0'], exclude: ['x'] }
  expect(withProject(over, found, false)).toMatchObject({
    model: 'opus',
    check: 'true',
    timeout: 60,
    exclude: ['data/', '*.mp4', 'x'],
    env: ['CI=1', 'VERBOSE=true', 'NAME=text', 'CI=0'],
  })
})

test('a plain command takes the setup, not what only a coding agent has', async () => {
  const found = await readProject(project(WHOLE))
  if (found === undefined) throw new Error('not found')
  const options = withProject({ workspace: true, secret: ['NPM_TOKEN'] }, found, true)
  expect(options).toMatchObject({ setup: 'npm ci', timeout: 1_800 })
  for (const key of ['agent', 'model', 'check', 'idle', 'budget', 'maxTurns']) expect(options).not.toHaveProperty(key)
})

test('a secret that the user does not pass is asked for, never taken', async () => {
  const found = await readProject(project('secrets: [A_TOKEN, B_TOKEN]'))
  if (found === undefined) throw new Error('not found')
  expect(() => withProject({ workspace: true, secret: ['A_TOKEN'], env: ['B_TOKEN'] }, found, false)).toThrow(
    /needs B_TOKEN: pass --secret B_TOKEN, or leave the file aside with --no-project-file/,
  )
})

test.each([
  ['a mistyped key', 'setpu: npm ci', /Unrecognized key: "setpu"/],
  ['no mapping', '- setup', /expected object/],
  ['broken YAML', 'setup: [', /is no valid YAML: .*line/],
  ['a duration that is none', 'limits: { timeout: soon }', /limits\.timeout: expected a duration/],
  ['an agent that is not there', 'agent: hal9000', /agent: /],
  ['a plain command as agent', 'agent: command', /agent: /],
  [
    "the model's address",
    'env: { ANTHROPIC_BASE_URL: "http://evil.test" }',
    /env\.ANTHROPIC_BASE_URL: steers model access/,
  ],
  ['a proxy', 'env: { https_proxy: "http://evil.test" }', /env\.https_proxy: steers/],
  ['a library to load', 'env: { LD_PRELOAD: ./evil.so }', /env\.LD_PRELOAD: steers/],
  ['a value for a secret', 'secrets: { A: b }', /secrets: /],
  ['an impossible name', 'env: { "A B": c }', /env/],
  [
    'bombs of aliases',
    `a: &a [x,x]\n${Array.from({ length: 30 }, (_, n) => `b${n}: &b${n} [*${n === 0 ? 'a' : `b${n - 1}`},*${n === 0 ? 'a' : `b${n - 1}`}]`).join('\n')}`,
    /is no valid YAML: Excessive alias count/,
  ],
  ['too much', `# ${'x'.repeat(70_000)}`, /is larger than 64.0 KiB/],
])('%s is refused, with the file and the place', async (_, text, message) => {
  const root = project(text)
  await expect(readProject(root)).rejects.toMatchObject({ code: 'invalid', message: expect.stringMatching(message) })
  await expect(readProject(root)).rejects.toThrow(join(root, '.rclaude.yaml'))
})

test('a link to nowhere is no file', async () => {
  const root = temporaryDirectory()
  symlinkSync('/nowhere', join(root, '.rclaude.yaml'))
  expect(await readProject(root)).toBeUndefined()
})

test.each([
  [
    { 'package.json': '{"scripts":{"test":"vitest"}}', 'package-lock.json': '{}' },
    { setup: 'npm ci', check: 'npm test' },
  ],
  [
    { 'package.json': '{"scripts":{"test":"echo \\"Error: no test specified\\" && exit 1"}}' },
    { setup: 'npm install' },
  ],
  [{ 'package.json': 'no JSON', 'pnpm-lock.yaml': '' }, { setup: 'pnpm install --frozen-lockfile' }],
  [{ 'go.mod': '' }, { setup: 'go mod download', check: 'go test ./...' }],
  [{ 'Cargo.toml': '' }, { check: 'cargo test' }],
  [{ Makefile: 'all:\n\ttrue\ntest: all\n\ttrue\n' }, { check: 'make test' }],
  [{ Makefile: 'all:\n' }, {}],
  [{}, {}],
])('init suggests by what lies there: %j', async (files, expected) => {
  const root = project('')
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text)
  expect(suggest(root)).toEqual(expected)
  writeFileSync(join(root, '.rclaude.yaml'), projectTemplate(suggest(root)))
  expect((await readProject(root))?.settings).toEqual(expected)
})
