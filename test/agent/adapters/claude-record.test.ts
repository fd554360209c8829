/** The short form of `npm run claude:record`: the recorder gives what is kept, and tells what another version would change. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { claudeVersion } from '../../../agent/adapters/claude-program.ts'
import { differences, unknownLines } from '../../fixtures/claude/differences.ts'
import { main } from '../../fixtures/claude/main.ts'
import { assertNothingOf, normalise } from '../../fixtures/claude/normalise.ts'
import { compareVersions } from '../../fixtures/claude/versions.ts'
import { CLAUDE_BINARY } from '../../helpers/scripted-claude.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const FIXTURES = fileURLToPath(new URL('../../fixtures/claude', import.meta.url))
const PLACE = { cwd: '/tmp/a.b/work', home: '/tmp/a.b/home', modelUrl: 'http://127.0.0.1:4321' }

test.each(['denied', 'interrupted'])('%s recorded again is byte for byte what is kept', async (name) => {
  const version = (await claudeVersion(CLAUDE_BINARY, { PATH: process.env.PATH ?? '' })) ?? ''
  const directory = temporaryDirectory()
  const log = vi.spyOn(console, 'log').mockReturnValue()
  expect(await main(['--claude', CLAUDE_BINARY, name], { directory })).toBe(0)
  log.mockRestore()
  const read = (folder: string) => readFileSync(join(folder, version, `${name}.jsonl`), 'utf8')
  expect(read(directory)).toBe(read(FIXTURES))
})

test('a scenario that is not there and a program that is not Claude are refused, and nothing is written', async () => {
  const directory = join(temporaryDirectory(), 'kept')
  mkdirSync(directory)
  const said: string[] = []
  const error = vi.spyOn(console, 'error').mockImplementation((text) => void said.push(text))
  expect(await main(['--claude', CLAUDE_BINARY, 'fixt'], { directory })).toBe(2)
  expect(await main(['--claude', '/bin/true'], { directory })).toBe(1)
  error.mockRestore()
  expect(said).toEqual([
    expect.stringContaining('no scenario fixt; there are fixed,'),
    expect.stringContaining('--claude PATH'),
  ])
  expect(existsSync(join(directory, 'denied.jsonl'))).toBe(false)
})

describe('what is not the same twice', () => {
  const line = {
    cwd: '/tmp/a.b/work',
    memory: '/tmp/a.b/home/.claude/projects/-tmp-a-b-work/memory',
    session_id: '0523518c-6dfe-41ea-bf01-7a64094bc2f2',
    uuid: '7e0eea0c-292a-47c0-8e96-d50a4adf7d0f',
    timestamp: '2026-11-22T17:43:53.716Z',
    duration_ms: 690,
    duration_api_ms: 0,
    retry_delay_ms: 564,
    num_turns: 3,
    text: 'see 127.0.0.1:4321 and 0523518c-6dfe-41ea-bf01-7a64094bc2f2',
    output: 'duration_ms: 1.25\n  at Test.run (node:internal/test_runner/test:796:25)\n# fail 1',
  }

  test('gets a fixed value, and what counts stays', () => {
    expect(JSON.parse(normalise([JSON.stringify(line)], PLACE))).toEqual({
      cwd: '/workspace/repo',
      memory: '/home/user/.claude/projects/-workspace-repo/memory',
      session_id: '00000000-0000-4000-8000-000000000001',
      uuid: '00000000-0000-4000-8000-000000000002',
      timestamp: '2026-01-01T00:00:00.000Z',
      duration_ms: 100,
      duration_api_ms: 0,
      retry_delay_ms: 500,
      num_turns: 3,
      text: 'see 127.0.0.1:8080 and 00000000-0000-4000-8000-000000000001',
      output: 'duration_ms: 100\n# fail 1',
    })
  })

  test('and what the rules do not know yet is refused, with the place to teach it', () => {
    expect(() => assertNothingOf('"x":"/root/secret"', ['/root', '/'])).toThrow(/still has \/root .*normalise\.ts/)
    expect(() => assertNothingOf('"x":"/workspace/repo"', ['/root', '/'])).not.toThrow()
  })
})

describe('between two versions', () => {
  const init = { type: 'system', subtype: 'init', tools: ['Bash'] }
  const text = (...lines: object[]) => lines.map((line) => JSON.stringify(line)).join('\n')

  test('new kinds of lines, members and words are told; order, numbers and texts are not', () => {
    const before = { a: text(init, { type: 'result', num_turns: 1, result: 'done', modelUsage: { x: { cost: 1 } } }) }
    const same = { a: text({ type: 'result', result: 'else', num_turns: 2, modelUsage: { y: { cost: 2 } } }, init) }
    expect(differences(before, same)).toEqual({ added: [], removed: [] })

    const after = { a: text({ ...init, tools: ['Zap'] }, { type: 'system', subtype: 'news', x: { y: 1 } }) }
    const { added, removed } = differences(before, after)
    expect(added).toEqual(
      expect.arrayContaining(['system/init.tools[] = Zap', 'system/news', 'system/news.x', 'system/news.x.y']),
    )
    expect(removed).toEqual(
      expect.arrayContaining(['system/init.tools[] = Bash', 'result', 'result.modelUsage.*.cost']),
    )
  })

  test('lines that the adapter would pass on raw are named', () => {
    const news = { type: 'system', subtype: 'news' }
    expect(unknownLines({ a: text(init, news), b: text({ type: 'hologram' }) })).toEqual([
      `a: ${JSON.stringify(news)}`,
      'b: {"type":"hologram"}',
    ])
  })

  test('the newer one is found by number, not by letter', () => {
    expect(['2.1.330', '2.1.1000', '2.0.9', '10.0.0'].sort(compareVersions)).toEqual([
      '2.0.9',
      '2.1.330',
      '2.1.1000',
      '10.0.0',
    ])
  })
})
