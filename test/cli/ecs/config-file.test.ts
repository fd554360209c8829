/** What `rclaude ecs init` makes of configurations that people wrote. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { type EditOptions, editConfig } from '../../../cli/ecs/config-file.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const SECTION = { cluster: 'dev', subnets: ['subnet-0a'] }

async function edited(text: string, options: EditOptions = {}): Promise<string> {
  const file = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(file, text)
  return (await editConfig(file, SECTION, options)).text
}

const ECS = '  ecs:\n    cluster: dev\n    subnets:\n      - subnet-0a\n'

test.each([
  ['an empty file', '', `launchers:\n${ECS}`],
  ['no launchers', 'a: 1 # one\n# end', `a: 1 # one\n# end\nlaunchers:\n${ECS}`],
  [
    'launchers that hold comments only',
    'launchers: # where\n  # docker: {}\na: 1\n',
    `launchers: # where\n${ECS}  # docker: {}\na: 1\n`,
  ],
  ['launchers without a line behind', 'launchers:', `launchers:\n${ECS}`],
  [
    'another launcher, with an indent of its own',
    'launchers:\n    process: { enabled: false } # no\na: {}   # odd\n',
    `launchers:\n${ECS.replaceAll(/^/gm, '  ').slice(0, -2)}    process: { enabled: false } # no\na: {}   # odd\n`,
  ],
])('in %s it is added, and all else stays to the letter', async (_, before, after) => {
  const text = await edited(before)
  expect(parse(text)).toEqual({ ...parse(before), launchers: { ...parse(before)?.launchers, ecs: SECTION } })
  expect(text).toBe(after)
})

test('a section that is there is only replaced when that is said', async () => {
  const before =
    'launchers:\n  default: process # mine\n  ecs: # old\n    cluster: old\n    region: x\n  # behind\n  docker: {}\nz: 1\n'
  await expect(edited(before)).rejects.toMatchObject({ code: 'conflict' })
  const text = await edited(before, { force: true, default: true })
  expect(parse(text)).toEqual({ launchers: { default: 'ecs', ecs: SECTION, docker: {} }, z: 1 })
  for (const kept of ['# mine', '# behind', 'z: 1']) expect(text).toContain(kept)
})

test('it becomes the default in a configuration that has the section and names none', async () => {
  const text = await edited('launchers:\n  ecs:\n    cluster: old\nz: 1\n', { force: true, default: true })
  expect(text).toBe(`launchers:\n  default: ecs\n${ECS}z: 1\n`)
})

test('agentUrl is set, whether it was there or not', async () => {
  const agentUrl = 'https://gw.example.org'
  expect(parse(await edited('agentUrl: http://old # where\n', { agentUrl }))).toMatchObject({ agentUrl })
  expect(parse(await edited('a: 1', { agentUrl, default: true }))).toEqual({
    a: 1,
    agentUrl,
    launchers: { default: 'ecs', ecs: SECTION },
  })
})

test('the example of a configuration only gets longer', async () => {
  const example = readFileSync('config.example.yaml', 'utf8')
  const text = await edited(example)
  expect(parse(text).launchers.ecs).toEqual(SECTION)
  expect(text.replace(/\n {2}ecs:\n {4}cluster: dev\n {4}subnets:\n {6}- subnet-0a(?=\n)/, '')).toBe(example)
})

test.each([
  ['no YAML', 'a: [1', /config\.yaml: /],
  ['a list', '- 1\n', /holds no keys/],
  ['braces', 'launchers: { process: {} }\n', /by hand/],
])('%s is refused', async (_, text, said) => {
  await expect(edited(text)).rejects.toThrow(said)
})
