/** Recorded lines of the real program, mapped and weighed. */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createEventMapper } from '../../../agent/adapters/claude-events.ts'
import { ClaudeLine } from '../../../agent/adapters/claude-lines.ts'
import { outcomeOf } from '../../../agent/adapters/claude-outcome.ts'
import { createTally } from '../../../agent/adapters/claude-tally.ts'
import { EventBody, type SessionUpdate } from '../../../protocol/event.ts'
import { SCENARIOS } from '../../fixtures/claude/scenarios.ts'
import { recordedVersions } from '../../fixtures/claude/versions.ts'

const FIXTURES = new URL('../../fixtures/claude/', import.meta.url)
/** Streams of older versions stay understood: an image may hold one for a long time. */
const VERSIONS = recordedVersions(FIXTURES)
const acpSessionUpdate = readAcpSchema()

function recorded(version: string, name: string): ClaudeLine[] {
  const lines = readFileSync(new URL(`${version}/${name}.jsonl`, FIXTURES), 'utf8')
    .trim()
    .split('\n')
  return lines.map((line) => ClaudeLine.parse(JSON.parse(line)))
}

function map(lines: unknown[]): EventBody[] {
  return lines.map((line) => ClaudeLine.parse(line)).flatMap(createEventMapper({ cwd: '/workspace/repo' }))
}

function updates(lines: unknown[]): SessionUpdate[] {
  return map(lines).flatMap((event) => (event.type === 'session_update' ? [event.update] : []))
}

const assistant = (block: object, more: object = {}) => ({
  type: 'assistant',
  message: { id: 'msg_1', content: [block] },
  ...more,
})
const toolResult = (id: string, content: unknown) => ({
  type: 'user',
  message: { content: [{ type: 'tool_result', tool_use_id: id, content }] },
})

test('the installed version is recorded, and every version in every scenario', () => {
  expect(VERSIONS).toContain(pinnedVersion())
  for (const version of VERSIONS)
    expect(readdirSync(new URL(`${version}/`, FIXTURES)).sort()).toEqual(
      Object.keys(SCENARIOS)
        .map((name) => `${name}.jsonl`)
        .sort(),
    )
})

describe.each(VERSIONS)('the events of Claude Code %s', (version) => {
  test.each(Object.keys(SCENARIOS))('every update of %s is valid by the Agent Client Protocol and ours', (name) => {
    const events = map(recorded(version, name))
    for (const event of events) {
      expect(EventBody.parse(event)).toEqual(event)
      expect(event.type).not.toBe('raw') // nothing of what was recorded is unknown to us
      if (event.type === 'session_update') expect(acpSessionUpdate.parse(event.update)).toBeDefined()
    }
  })

  test('an edit is a call with a place and a diff, then its result', () => {
    const seen = updates(recorded(version, 'fixed')).filter(({ toolCallId }) => toolCallId === 'toolu_4_0')
    expect(seen).toMatchObject([
      {
        sessionUpdate: 'tool_call',
        title: 'Edit src/duration.js',
        name: 'Edit',
        kind: 'edit',
        status: 'in_progress',
        locations: [{ path: '/workspace/repo/src/duration.js' }],
        content: [
          { type: 'diff', oldText: expect.stringContaining('total ='), newText: expect.stringContaining('total +=') },
        ],
      },
      { sessionUpdate: 'tool_call_update', status: 'completed', rawOutput: expect.anything() },
    ])
  })

  test('a command that failed is a failed call with its output', () => {
    const seen = updates(recorded(version, 'fixed')).filter(({ toolCallId }) => toolCallId === 'toolu_2_0')
    expect(seen).toMatchObject([
      { title: 'npm test', kind: 'execute', rawInput: { command: 'npm test' } },
      { status: 'failed', content: [{ type: 'content', content: { text: expect.stringMatching(/^(#|ℹ) fail 1$/m) } }] },
    ])
  })

  test('thoughts, refusals of the model and interruptions are told apart', () => {
    expect(updates(recorded(version, 'fixed')).map(({ sessionUpdate }) => sessionUpdate)).toContain(
      'agent_thought_chunk',
    )
    expect(updates(recorded(version, 'interrupted')).at(-1)).toMatchObject({
      sessionUpdate: 'user_message_chunk',
      content: { text: '[Request interrupted by user for tool use]' },
    })
    expect(map(recorded(version, 'auth')).filter(({ type }) => type === 'warning')).toEqual([
      { type: 'warning', message: expect.stringMatching(/answered 401 .* retry 1 of 1 in 0\.\d s/) },
      { type: 'warning', message: expect.stringContaining('Invalid API key') },
    ])
  })
})

describe('events', () => {
  test('the schema that they are held against refuses what is wrong', () => {
    expect(
      acpSessionUpdate.safeParse({ sessionUpdate: 'agent_message_chunk', content: { type: 'text' } }).success,
    ).toBe(false)
    expect(
      acpSessionUpdate.safeParse({ sessionUpdate: 'tool_call', toolCallId: 'a', title: 'b', kind: 'c' }).success,
    ).toBe(false)
  })

  test('the to-do list is a plan, and its result says nothing more', () => {
    const todos = [
      { content: 'look', status: 'completed', activeForm: 'Looking' },
      { content: 'mend', status: 'in_progress', activeForm: 'Mending' },
    ]
    const seen = updates([
      assistant({ type: 'tool_use', id: 't1', name: 'TodoWrite', input: { todos } }),
      toolResult('t1', 'Todos have been modified'),
    ])
    expect(seen).toEqual([
      {
        sessionUpdate: 'plan',
        entries: [
          { content: 'look', priority: 'medium', status: 'completed' },
          { content: 'mend', priority: 'medium', status: 'in_progress' },
        ],
      },
    ])
    expect(acpSessionUpdate.parse(seen[0])).toBeDefined()
  })

  test("a sub-agent's words name the call that it works for", () => {
    const [seen] = updates([assistant({ type: 'text', text: 'hi' }, { parent_tool_use_id: 'toolu_9' })])
    expect(seen).toMatchObject({ sessionUpdate: 'agent_message_chunk', _meta: { parentToolCallId: 'toolu_9' } })
  })

  test('what is large is cut or left out, and says so', () => {
    const content = 'x'.repeat(1_000_000)
    const [call, result] = updates([
      assistant({ type: 'tool_use', id: 't1', name: 'Write', input: { file_path: '/workspace/repo/big', content } }),
      toolResult('t1', content),
    ])
    expect(call).toMatchObject({ title: 'Write big', rawInput: { leftOut: expect.stringContaining('characters') } })
    expect(JSON.stringify(call).length).toBeLessThan(300_000)
    expect(JSON.stringify(result)).toContain('737856 more characters left out')
  })

  test('an unknown kind of system line or block is carried through', () => {
    const line = { type: 'system', subtype: 'news', x: 1 }
    expect(map([line, assistant({ type: 'hologram', y: 2 })])).toEqual([
      { type: 'raw', program: 'claude', line: expect.objectContaining(line) },
      { type: 'raw', program: 'claude', line: { type: 'hologram', y: 2 } },
    ])
  })
})

describe.each(VERSIONS)('the outcomes of Claude Code %s', (version) => {
  const weigh = (lines: ClaudeLine[], more: { stopped?: boolean } = {}) => {
    const tally = createTally()
    for (const line of lines) tally.add(line)
    const exit = { code: 1, signal: null }
    return outcomeOf({
      tally,
      exit,
      stderr: '',
      stopped: false,
      authRefused: false,
      permissionMode: 'default',
      ...more,
    })
  }

  test.each([
    ['fixed', 'succeeded', 'completed'],
    ['denied', 'blocked', 'permission_denied'],
    ['max-budget', 'budget', 'max_budget'],
    ['max-turns', 'budget', 'max_turns'],
    ['auth', 'failed', 'model_auth'],
    ['not-logged-in', 'failed', 'model_auth'],
    ['credit', 'failed', 'model_limit'],
    ['rate-limit', 'failed', 'model_limit'],
    ['overloaded', 'failed', 'model_unavailable'],
    ['no-connection', 'failed', 'model_unavailable'],
    ['no-session', 'failed', 'agent_error'],
    ['interrupted', 'failed', 'agent_error'],
  ])('%s is %s/%s', (name, outcome, reason) => {
    expect(weigh(recorded(version, name))).toMatchObject({ outcome, reason })
  })

  test('an interrupted run is cancelled when we stopped it, a finished one stays finished', () => {
    expect(weigh(recorded(version, 'interrupted'), { stopped: true })).toMatchObject({
      outcome: 'cancelled',
      reason: 'user',
    })
    expect(weigh(recorded(version, 'fixed'), { stopped: true })).toMatchObject({ outcome: 'succeeded' })
  })

  test('without a result the usage is summed once per message', () => {
    const withoutResult = recorded(version, 'fixed').filter(({ type }) => type !== 'result')
    const blocks = withoutResult.filter(({ type }) => type === 'assistant')
    const result = weigh(withoutResult)
    expect(result).toMatchObject({ reason: 'agent_crash', usage: { inputTokens: 7_200, turns: 6 } })
    expect(blocks.length).toBeGreaterThan(6) // several lines per message
  })
})

/** The protocol's own JSON schema: stricter than the parsers of its SDK, which replace what is wrong by a default. */
function readAcpSchema(): z.ZodType {
  const path = createRequire(import.meta.url).resolve('@agentclientprotocol/sdk/schema/v1/schema.json')
  const { $defs } = z
    .object({ $defs: z.record(z.string(), z.record(z.string(), z.unknown())) })
    .parse(JSON.parse(readFileSync(path, 'utf8')))
  return z.fromJSONSchema({ $defs, ...$defs.SessionUpdate })
}

function pinnedVersion(): string {
  const { devDependencies } = z
    .object({ devDependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')))
  return devDependencies['@anthropic-ai/claude-code'] ?? ''
}
