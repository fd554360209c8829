import { readFileSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { PLAIN } from '../../cli/output.ts'
import { ordinal } from '../../cli/queue.ts'
import { plainView } from '../../cli/run-view.ts'
import { Transcript } from '../../cli/transcript.ts'
import { type EventBody, TaskEvent } from '../../protocol/event.ts'
import { aTask } from './support/loopback.ts'

/** Recorded from the real Claude Code, against a scripted model, through a real gateway. */
const RECORDED = readFileSync(fileURLToPath(new URL('fixtures/fix-failing-test.ndjson', import.meta.url)), 'utf8')
  .trim()
  .split('\n')
  .map((line) => TaskEvent.parse(JSON.parse(line)))

/** Events a second apart. */
const events = (...bodies: EventBody[]): TaskEvent[] =>
  bodies.map((body, at) => ({
    seq: at + 1,
    source: 'agent',
    at: new Date(at * 1_000).toISOString(),
    turn: 1,
    ...body,
  }))

const said = (sessionUpdate: string, words: string, messageId?: string): EventBody => ({
  type: 'session_update',
  update: { sessionUpdate, content: { type: 'text', text: words }, ...(messageId && { messageId }) },
})

function lines(list: readonly TaskEvent[], transcript = new Transcript(PLAIN)): string[] {
  return [...list.flatMap((event) => transcript.add(event)), ...transcript.flush()]
}

test('a recorded run reads as plain lines without a control character', async () => {
  const stream = new PassThrough()
  const view = plainView(stream, PLAIN, () => 0)
  for (const event of RECORDED) await view.event(event)
  await view.close()
  stream.end()
  const shown = await text(stream)
  expect(shown).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
  expect(shown.split('\n').slice(0, 26).join('\n')).toMatchInlineSnapshot(`
    "✓ launch 0.0s
    ✓ start 0.3s
    ✓ workspace 0.2s
    I will look at what is here first.
    ● Bash pwd && git ls-files ✓ 0.1s
    Now the tests, to see the failure with my own eyes.
    ● Bash npm test ✗ 1.4s
      │ Exit code 1
      │ > tea-timer@1.0.0 test
      │ > node --test
      │ TAP version 13
    1 test fails: “adds up several units”. The parser is the place to look.
    ● Read src/duration.js ✓ 0.1s
    ∴ The loop assigns the total in each round, so only the last unit counts: 1h30m gives 1800.
    Found it: each unit overwrites the total where it should be added.
    ● Edit src/duration.js ✓ 0.1s
    And the tests again.
    ● Bash npm test ✓ 0.8s
    Fixed: \`parseDuration\` in src/duration.js kept only the last unit (\`=\` where \`+=\` was meant), so \`1h30m\` came to 30 minutes. All tests pass now.
    ✓ agent 3.7s
      │
      │ > tea-timer@1.0.0 test
      │ > node --test
      │
      │ TAP version 13
      │ # Subtest: parses one unit"
  `)
  expect(shown.trimEnd().split('\n').slice(-3).join('\n')).toMatchInlineSnapshot(`
    "  │ # duration_ms 122.650593
    ✓ check passed 0.6s
    ✓ save 0.2s"
  `)
})

test('a recorded run leaves nothing under way', () => {
  const transcript = new Transcript(PLAIN)
  lines(RECORDED, transcript)
  expect([...transcript.running.keys()]).toEqual([])
})

test('what is under way is there for a live view, with its name and start', () => {
  const transcript = new Transcript(PLAIN)
  const upTo = RECORDED.findIndex((event) => event.type === 'session_update' && event.update.title === 'npm test')
  lines(RECORDED.slice(0, upTo + 1), transcript)
  expect([...transcript.running.values()].map(({ label }) => label)).toEqual(['agent', 'Bash npm test'])
})

test('pieces of one message are joined, whole messages stand alone', () => {
  expect(
    lines(
      events(
        said('agent_message_chunk', 'one ', 'm1'),
        said('agent_message_chunk', 'line\ntwo', 'm1'),
        said('agent_message_chunk', 'another', 'm2'),
        said('agent_message_chunk', 'whole'),
        said('agent_message_chunk', 'whole too'),
        said('agent_thought_chunk', 'hm'),
      ),
    ),
  ).toEqual(['one line', 'two', 'another', 'whole', 'whole too', '∴ hm'])
})

test('output that comes in pieces is cut at line ends, each channel by itself', () => {
  const output = (channel: 'stdout' | 'stderr', words: string): EventBody => ({
    type: 'output',
    step: 'setup',
    channel,
    text: words,
  })
  expect(
    lines(events(output('stdout', 'a'), output('stdout', 'b\nc'), output('stderr', 'e\n'), output('stdout', 'd\n'))),
  ).toEqual(['  │ ab', '  │ c', '  │ e', '  │ d'])
})

test('whatever a task says, nothing of it drives the terminal', () => {
  const evil = 'x\u001b[2J\u009b1A\u202ey'
  const update = (fields: object): EventBody => ({
    type: 'session_update',
    update: { sessionUpdate: 'tool_call', toolCallId: 't', ...fields },
  })
  const all = lines(
    events(
      said('agent_message_chunk', evil),
      said('agent_thought_chunk', evil),
      update({ title: evil, name: evil }),
      update({ status: 'failed', content: [{ type: 'content', content: { type: 'text', text: evil } }] }),
      { type: 'session_update', update: { sessionUpdate: 'plan', entries: [{ content: evil, status: 'pending' }] } },
      { type: 'output', step: 'agent', channel: 'stdout', text: evil },
      { type: 'step', step: 'setup', status: 'failed', message: evil },
      { type: 'warning', message: evil },
      { type: 'gap', what: evil, count: 3 },
      { type: 'checkpoint', commit: evil, filesChanged: 1 },
    ),
  )
  expect(all.length).toBeGreaterThanOrEqual(10)
  for (const line of all) expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/)
})

test('a plan is shown whole at first, then what changed in it', () => {
  const plan = (...statuses: string[]): EventBody => ({
    type: 'session_update',
    update: { sessionUpdate: 'plan', entries: statuses.map((status, at) => ({ content: `part ${at + 1}`, status })) },
  })
  expect(lines(events(plan('in_progress', 'pending'), plan('completed', 'in_progress')))).toEqual([
    '  ▶ part 1',
    '  ☐ part 2',
    '  ☑ part 1',
    '  ▶ part 2',
  ])
})

test('a lost connection, a gap and a failed step are said', () => {
  expect(
    lines(
      events(
        { type: 'connection', online: true },
        { type: 'connection', online: false },
        { type: 'connection', online: true },
        { type: 'gap', what: 'events', count: 12 },
        { type: 'step', step: 'setup', status: 'started' },
        { type: 'step', step: 'setup', status: 'failed', message: 'exit code 3' },
      ),
    ),
  ).toEqual([
    '! the machine of the task lost its connection; the task goes on',
    '✓ connected again 1.0s',
    '! 12 of events were dropped: a quota was reached',
    '✗ setup exit code 3 1.0s',
  ])
})

test('updates of an unknown shape are passed over', () => {
  const update = (fields: { sessionUpdate: string }): EventBody => ({ type: 'session_update', update: fields })
  expect(
    lines(
      events(
        update({ sessionUpdate: 'agent_message_chunk' }),
        update({ sessionUpdate: 'tool_call' }),
        update({ sessionUpdate: 'of_the_future' }),
        { type: 'raw', program: 'claude', line: { type: 'new' } },
      ),
    ),
  ).toEqual([])
})

test('a place in the queue is said once for each limit, and forgotten when the task is launched', async () => {
  const stream = new PassThrough()
  const view = plainView(stream, PLAIN, () => 0)
  const [queued, launching] = events({ type: 'state', state: 'queued' }, { type: 'state', state: 'launching' })
  if (queued === undefined || launching === undefined) throw new Error('no events')
  await view.queued('9th; limits.maxTasks') // nothing is known to wait
  await view.event(queued)
  for (const place of ['3rd; limits.maxTasks', '2nd; limits.maxTasks', undefined, '1st; limits.maxTasksPerUser'])
    await view.queued(place)
  await view.event(launching)
  await view.queued('1st; limits.maxTasks')
  await view.close()
  stream.end()
  expect(await text(stream)).toBe('· queued, 3rd; limits.maxTasks\n· queued, 1st; limits.maxTasksPerUser\n')
})

test.each([
  [1, '1st'],
  [2, '2nd'],
  [3, '3rd'],
  [4, '4th'],
  [11, '11th'],
  [12, '12th'],
  [13, '13th'],
  [21, '21st'],
  [102, '102nd'],
  [111, '111th'],
])('%i is written %s', (value, words) => expect(ordinal(value)).toBe(words))

test('a later turn begins with its prompt', () => {
  const [event] = events({ type: 'turn_started', prompt: 'now the\nother one' })
  expect(event && lines([{ ...event, turn: 2 }])).toEqual(['', '› now the other one'])
})

test('the closing block says outcome, check, change, use, and what to do next', async () => {
  const result = {
    ...aTask().turns[0]?.result,
    check: { verdict: 'failed', exitCode: 1, durationMs: 1_200 },
    filesChanged: 3,
    insertions: 12,
    deletions: 4,
  }
  const usage = {
    inputTokens: 12_345,
    outputTokens: 678,
    cacheReadTokens: 9_000,
    cacheWriteTokens: 0,
    costUsd: 0.0421,
    turns: 3,
  }
  const task = aTask({ usage, turns: [{ ...aTask().turns[0], result }] })
  const stream = new PassThrough()
  await plainView(stream, PLAIN, () => 0).summary({ ...task, spec: { ...task.spec, check: 'npm test' } })
  stream.end()
  expect(await text(stream)).toMatchInlineSnapshot(`
    "
    ! succeeded Claude finished (completed)
      check    failed npm test exit code 1 1.2s
      changed  3 files +12 -4
      tokens   12,345 in, 678 out, 9,000 cached
      cost     $0.0421
      time     1m 02s
      task     task_abcdefghjkmn

      rclaude diff task_abcdefghjkmn   look at the change
      rclaude apply task_abcdefghjkmn  put it on your working tree
      rclaude pull task_abcdefghjkmn   get it as branch rclaude/task_abcdefghjkmn
    "
  `)
})
