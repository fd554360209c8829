/** The real Claude Code against a scripted model: every way a run can end. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { claude, createClaudeAdapter } from '../../../agent/adapters/claude.ts'
import { adapters } from '../../../agent/adapters/registry.ts'
import { bash, fail, hang, say, steps, use } from '../../../demo/model-server.ts'
import { NO_USAGE } from '../../../protocol/event.ts'
import { eventually } from '../../helpers/eventually.ts'
import { CLAUDE_BINARY, finish, isAlive, scriptedClaude, wrappedClaude } from '../../helpers/scripted-claude.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

describe('a run that works', () => {
  test('writes a real file, tells it as events and succeeds with tokens, cost and turns', async () => {
    const setup = await scriptedClaude((conversation) =>
      steps(
        use('Write', { file_path: join(setup.cwd, 'hello.txt'), content: 'hello\n' }, { text: 'I write it.' }),
        say('It is written.', { usage: { input: 100, output: 10, cacheRead: 7, cacheWrite: 5 } }),
      )(conversation),
    )
    const { events, result } = await finish(setup.run())

    expect(readFileSync(join(setup.cwd, 'hello.txt'), 'utf8')).toBe('hello\n')
    expect(result).toMatchObject({ outcome: 'succeeded', reason: 'completed', exitCode: 0, summary: 'It is written.' })
    expect(result.usage).toMatchObject({
      inputTokens: 1_300,
      outputTokens: 90,
      cacheReadTokens: 7,
      cacheWriteTokens: 5,
      turns: 2,
    })
    expect(result.usage.costUsd).toBeGreaterThan(0)
    const updates = events.flatMap((event) => (event.type === 'session_update' ? [event.update.sessionUpdate] : []))
    expect(updates).toEqual([
      'session_info_update',
      'agent_message_chunk',
      'tool_call',
      'tool_call_update',
      'agent_message_chunk',
    ])
    expect(events.at(-1)).toEqual({ type: 'usage', usage: result.usage })
  })

  test('passes the model on, and keeps the prompt out of the arguments', async () => {
    const setup = await scriptedClaude(steps(bash('tr "\\0" " " < /proc/$PPID/cmdline > arguments'), say('done')))
    const prompt = '--version is not an option here; $(touch pwned) `touch pwned`'
    const { result } = await finish(setup.run({ prompt, model: 'claude-sonnet-5' }))

    expect(result.outcome).toBe('succeeded')
    const conversation = setup.server.requests.find(({ kind }) => kind === 'conversation')?.conversation
    expect(conversation).toMatchObject({ model: 'claude-sonnet-5', prompt })
    const seen = readFileSync(join(setup.cwd, 'arguments'), 'utf8')
    expect(seen).toContain('--model=claude-sonnet-5')
    expect(seen).not.toContain('pwned')
  })

  test('a resumed session remembers, also when its files moved to another home and directory', async () => {
    const setup = await scriptedClaude(({ prompts }) => say(`I heard: ${prompts.join(' | ')}`))
    const first = await finish(setup.run({ prompt: 'my colour is green' }))
    const { sessionId = '' } = first.result
    const files = await claude.sessionFiles({ home: setup.home, cwd: setup.cwd, sessionId })
    expect(files).toHaveLength(1)

    const again = await finish(setup.run({ prompt: 'which colour?', resumeSessionId: sessionId }))
    expect(again.result.summary).toBe('I heard: my colour is green | which colour?')
    expect(again.result.sessionId).toBe(sessionId)
    expect(again.result.usage.costUsd).toBeCloseTo(first.result.usage.costUsd, 6) // its own cost, not the sum

    const directory = temporaryDirectory()
    const [home, cwd] = [join(directory, 'home'), join(directory, 'elsewhere')]
    mkdirSync(cwd)
    renameSync(setup.home, home)
    const moved = await finish(setup.run({ prompt: 'and now?', resumeSessionId: sessionId, home, cwd }))
    expect(moved.result.summary).toBe('I heard: my colour is green | which colour? | and now?')
    const newest = await claude.sessionFiles({ home, cwd, sessionId })
    expect(newest).toHaveLength(1)
    expect(readFileSync(newest[0] ?? '', 'utf8')).toContain('and now?')
  })

  test('lines it does not know become raw events, and a line too long a gap', async () => {
    const setup = await scriptedClaude(steps(say('done')))
    const before = `echo 'a word of warning'; echo '{"type":"from_the_future","x":1}'; echo '{broken'; echo '{"type":"keep_alive"}'; head -c 300000 /dev/zero | tr '\\0' x; echo`
    const program = wrappedClaude(setup.home, { before })
    const adapter = createClaudeAdapter({ maxLineBytes: 200_000 })
    const { events, result } = await finish(setup.run({ env: { RCLAUDE_CLAUDE: program } }), adapter)

    expect(result.outcome).toBe('succeeded')
    expect(events.slice(0, 4)).toEqual([
      { type: 'raw', program: 'claude', line: 'a word of warning' },
      { type: 'raw', program: 'claude', line: { type: 'from_the_future', x: 1 } },
      { type: 'raw', program: 'claude', line: '{broken' },
      { type: 'gap', what: expect.any(String), count: 300_000 },
    ])
  })
})

describe('a run that is held back', () => {
  test.each(['default', 'dontAsk'] as const)('is blocked when every call was denied (%s)', async (permissionMode) => {
    const setup = await scriptedClaude(
      steps(bash('touch made'), use('Write', { file_path: '/x', content: '' }), say('I could not.')),
    )
    const { events, result } = await finish(setup.run({ permissionMode }))
    expect(result).toMatchObject({ outcome: 'blocked', reason: 'permission_denied', exitCode: 0 })
    expect(result.message).toContain(`(Bash, Write) was denied in permission mode ${permissionMode}`)
    const failed = events.filter((event) => event.type === 'session_update' && event.update.status === 'failed')
    expect(failed).toHaveLength(2)
  })

  test('is not blocked when one of its calls went through', async () => {
    const setup = await scriptedClaude((conversation) =>
      steps(use('Read', { file_path: join(setup.cwd, 'readable') }), bash('touch made'), say('Partly.'))(conversation),
    )
    writeFileSync(join(setup.cwd, 'readable'), 'text')
    const { result } = await finish(setup.run({ permissionMode: 'default' }))
    expect(result).toMatchObject({ outcome: 'succeeded', reason: 'completed' })
  })

  test('ends at the limit on turns', async () => {
    const setup = await scriptedClaude(steps(bash('true')))
    const { result } = await finish(setup.run({ limits: { maxTurns: 2 } }))
    expect(result).toMatchObject({ outcome: 'budget', reason: 'max_turns' })
    expect(setup.server.requests.filter(({ kind }) => kind === 'conversation')).toHaveLength(2)
  })

  test('ends at the limit on cost', async () => {
    const setup = await scriptedClaude(steps(bash('true', { usage: { input: 500_000 } })))
    const { result } = await finish(setup.run({ limits: { budgetUsd: 0.5 } }))
    expect(result).toMatchObject({ outcome: 'budget', reason: 'max_budget', message: expect.stringContaining('$0.5') })
    expect(result.usage.costUsd).toBeGreaterThan(0.5)
  })
})

describe('a model that refuses', () => {
  test.each([
    ['a wrong key', fail(401, 'invalid x-api-key'), 'model_auth'],
    ['a key without permission', fail(403, 'no permission'), 'model_auth'],
    ['a rate limit', fail(429, 'This request would exceed the rate limit for your organization'), 'model_limit'],
    ['no credit', fail(400, 'Your credit balance is too low to access the Anthropic API.'), 'model_limit'],
    ['an overload', fail(529, 'Overloaded'), 'model_unavailable'],
    ['a fault of the server', fail(500, 'Internal server error'), 'model_unavailable'],
    ['a stream that breaks off', say('half of what I', { cut: true }), 'model_unavailable'],
    ['a request it cannot read', fail(400, 'messages: something is wrong'), 'agent_error'],
  ] as const)('%s', async (_name, reply, reason) => {
    const setup = await scriptedClaude(steps(reply))
    const { result } = await finish(setup.run())
    expect(result).toMatchObject({ outcome: 'failed', reason, exitCode: 1, usage: { costUsd: 0 } })
    expect(result).not.toHaveProperty('summary')
  })

  test('no model at the address', async () => {
    const setup = await scriptedClaude(steps(say('never asked')))
    await setup.server.close()
    const { events, result } = await finish(setup.run())
    expect(result).toMatchObject({ outcome: 'failed', reason: 'model_unavailable' })
    expect(events).toContainEqual({
      type: 'warning',
      message: expect.stringMatching(/could not be reached .* retry 1 of 1/),
    })
  })

  test('no key at all', async () => {
    const setup = await scriptedClaude(steps(say('never asked')))
    const { result } = await finish(setup.run({ env: { ANTHROPIC_API_KEY: '' } }))
    expect(result).toMatchObject({ outcome: 'failed', reason: 'model_auth' })
    expect(result.message).toContain('check ANTHROPIC_API_KEY')
  })

  test('a wrong key is not tried for three minutes', async () => {
    const setup = await scriptedClaude(steps(fail(401, 'invalid x-api-key')))
    const adapter = createClaudeAdapter({ maxAuthRetries: 2 })
    const { result } = await finish(setup.run({ env: { CLAUDE_CODE_MAX_RETRIES: '10' } }), adapter)
    expect(result).toMatchObject({ outcome: 'failed', reason: 'model_auth' })
    expect(setup.server.requests.length).toBeLessThanOrEqual(3)
  })

  test('a failure that passes is survived', async () => {
    const setup = await scriptedClaude(({ attempt }) =>
      attempt === 1 ? fail(529, 'Overloaded') : say('There you are.'),
    )
    const { result } = await finish(setup.run())
    expect(result).toMatchObject({ outcome: 'succeeded', summary: 'There you are.' })
  })

  test('a session that is not there', async () => {
    const setup = await scriptedClaude(steps(say('never asked')))
    const { result } = await finish(setup.run({ resumeSessionId: '00000000-0000-4000-8000-000000000000' }))
    expect(result).toMatchObject({ outcome: 'failed', reason: 'agent_error' })
    expect(result.message).toContain('No conversation found')
  })
})

describe('an end that nobody planned', () => {
  test('a killed Claude is a crash, with the numbers so far, and leaves nothing running', async () => {
    const setup = await scriptedClaude(
      steps(
        bash(
          'setsid sh -c "echo \\$\\$ > left; exec sleep 300" & while [ ! -s left ]; do :; done; kill -9 $PPID; sleep 300',
        ),
      ),
    )
    const { result } = await finish(setup.run())
    expect(result).toMatchObject({ outcome: 'failed', reason: 'agent_crash', exitCode: null })
    expect(result.message).toContain('signal SIGKILL')
    expect(result.usage).toMatchObject({ inputTokens: 1_200, turns: 1 })
    expect(result.sessionId).toBeDefined()
    const left = pidIn(join(setup.cwd, 'left')) ?? 0
    expect(left).toBeGreaterThan(0)
    await eventually('the tool is gone', () => !isAlive(left))
  })

  test('a crash says what was on standard error', async () => {
    const setup = await scriptedClaude(steps(say('never asked')))
    const program = wrappedClaude(setup.home, { before: 'echo "Illegal instruction" >&2; exit 132' })
    const { result } = await finish(setup.run({ env: { RCLAUDE_CLAUDE: program } }))
    expect(result).toMatchObject({ reason: 'agent_crash', exitCode: 132, usage: NO_USAGE })
    expect(result.message).toContain('Illegal instruction')
  })

  test('stop in the middle of a tool interrupts Claude and leaves no child', async () => {
    const setup = await scriptedClaude(
      steps(
        bash('setsid sh -c "echo \\$\\$ > left; exec sleep 300" & sh -c "echo \\$\\$ > tool; exec sleep 300"; true'),
      ),
    )
    const session = await claude.start(setup.run())
    const reading = (async () => {
      for await (const _event of session.events);
    })()
    const pids = await Promise.all(['left', 'tool'].map((name) => eventually(name, () => pidIn(join(setup.cwd, name)))))
    await session.stop()
    await reading
    expect(pids.filter(isAlive)).toEqual([])
    expect(await session.result).toMatchObject({
      outcome: 'cancelled',
      reason: 'user',
      usage: { turns: expect.any(Number) },
    })
    expect((await session.result).sessionId).toBeDefined()
  })

  test('stop while the model is silent ends at once, also when nobody reads the events', async () => {
    const setup = await scriptedClaude(steps(hang))
    const session = await claude.start(setup.run())
    await eventually('the model was asked', () => setup.server.requests.some(({ kind }) => kind === 'conversation'))
    await session.stop()
    expect(await session.result).toMatchObject({ outcome: 'cancelled', reason: 'user' })
  })

  test('a program that gave its result and does not exit is stopped, and the result stands', async () => {
    const setup = await scriptedClaude(steps(say('All done.')))
    const program = wrappedClaude(setup.home, { after: 'sleep 300' })
    const adapter = createClaudeAdapter({ exitGraceMs: 200 })
    const { events, result } = await finish(setup.run({ env: { RCLAUDE_CLAUDE: program } }), adapter)
    expect(result).toMatchObject({ outcome: 'succeeded', reason: 'completed', summary: 'All done.' })
    expect(events.at(-1)).toEqual({ type: 'warning', message: expect.stringContaining('did not exit') })
  })
})

describe('the program', () => {
  test('is found by RCLAUDE_CLAUDE, along PATH and in node_modules, with its version', async () => {
    const home = temporaryDirectory()
    const named = await claude.detect({ HOME: home, PATH: '', RCLAUDE_CLAUDE: CLAUDE_BINARY })
    expect(named).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+$/), path: CLAUDE_BINARY })
    const onPath = await claude.detect({ HOME: home, PATH: `.:${join(CLAUDE_BINARY, '..')}` })
    expect(onPath?.path).toBe(CLAUDE_BINARY)
    const installed = await adapters.claude.detect({ HOME: home, PATH: '/nowhere' })
    expect(installed?.path).toMatch(/node_modules\/@anthropic-ai\/claude-code\/bin\//)
  })

  test('that is missing fails the run with what to do', async () => {
    const setup = await scriptedClaude(steps(say('never asked')))
    const run = setup.run({ env: { RCLAUDE_CLAUDE: '/nowhere/claude' } })
    expect(await claude.detect(run.env)).toBeUndefined()
    const { events, result } = await finish(run)
    expect(events).toEqual([])
    expect(result).toMatchObject({ outcome: 'failed', reason: 'agent_missing' })
    expect(result.message).toContain('RCLAUDE_CLAUDE names /nowhere/claude')
  })

  test('leaves nothing outside its HOME and working directory', async () => {
    const setup = await scriptedClaude(steps(bash('printenv CLAUDE_CODE_TMPDIR > where'), say('done')))
    await finish(setup.run())
    expect(readFileSync(join(setup.cwd, 'where'), 'utf8').trim()).toBe(join(setup.home, '.tmp'))
  })
})

/** Undefined until a process has written its pid. */
function pidIn(path: string): number | undefined {
  if (!existsSync(path)) return undefined
  return Number(readFileSync(path, 'utf8')) || undefined
}
