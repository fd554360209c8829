import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../gateway/config.ts'
import { GatewayConfig } from '../../protocol/config.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

function configFile(text: string): string {
  const file = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(file, text)
  return file
}

test('without a file everything has its default', () => {
  expect(loadConfig(undefined, {})).toEqual(GatewayConfig.parse({}))
})

test('the example says the defaults, key by key', () => {
  const example: unknown = parse(readFileSync('config.example.yaml', 'utf8'))
  expect(GatewayConfig.parse(example)).toEqual(GatewayConfig.parse({}))
  const keys = (value: unknown, path = ''): string[] =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, item]) => keys(item, `${path}.${key}`))
      : [path]
  expect(keys(example).sort()).toEqual(keys(GatewayConfig.parse({})).sort())
})

test('the environment goes over the file', () => {
  const file = configFile('limits:\n  maxTasks: 3\n  taskIdle: 5m\n')
  const config = loadConfig(file, {
    RCLAUDE_LIMITS__MAX_TASKS: '7',
    RCLAUDE_LISTEN__HOSTS: '[a.example, b.example]',
    RCLAUDE_TOKEN: 'x',
  })
  expect(config.limits.maxTasks).toBe(7)
  expect(config.limits.taskIdle).toBe(300)
  expect(config.listen.hosts).toEqual(['a.example', 'b.example'])
})

test('every mistake is told with its line', () => {
  const file = configFile('listen:\n  port: 99999\nlimits:\n  maxTasks: 3\n  taskTimeout: soon\nnonsense: 1\n')
  expect(() => loadConfig(file, {})).toThrow(
    /config\.yaml:2: listen\.port: .*\n.*config\.yaml:5: limits\.taskTimeout: expected a duration.*\n.*config\.yaml:6: nonsense: unknown key/s,
  )
})

test('a mistake in the environment names the variable', () => {
  expect(() => loadConfig(undefined, { RCLAUDE_LIMITS__MAX_TASKS: 'many' })).toThrow(/RCLAUDE_LIMITS__MAX_TASKS/)
})

test('broken YAML is told with its line', () => {
  expect(() => loadConfig(configFile('listen:\n  port: [1\n'), {})).toThrow(/config\.yaml:\d+: /)
})

test('a file that is not there is named', () => {
  expect(() => loadConfig('/nonexistent/config.yaml', {})).toThrow(/\/nonexistent\/config\.yaml/)
})
