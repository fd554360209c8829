/** A gateway one release newer has words that this CLI does not know: they are shown as they are, and nothing stops for them. */
import { expect, test } from 'vitest'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { bundleCli, runCli } from './support/bundle.ts'
import { aTask, loopback, sendJson } from './support/loopback.ts'

const bundle = await bundleCli()
const AT = '2026-01-02T03:04:05.000Z'
const KNOWN = aTask({ state: 'queued', waitingFor: 'launch', since: AT })
const PAUSED = { ...KNOWN, id: 'task_pausedpaused', state: 'paused', pausedBy: { user: 'ana' } }
const RESULT = {
  outcome: 'postponed',
  reason: 'full_moon',
  message: 'the moon is full',
  check: { verdict: 'flaky' },
  usage: KNOWN.usage,
  durationMs: 5,
  filesChanged: 0,
}
const POSTPONED = {
  ...KNOWN,
  id: 'task_postponedabc',
  state: 'ended',
  outcome: 'postponed',
  reason: 'full_moon',
  message: 'the moon is full',
  endedAt: AT,
  incomplete: false,
  isolation: 'microvm',
  turns: [{ ...KNOWN.turns[0], startedAt: AT, endedAt: AT, result: RESULT }],
  lastSeq: 3,
}
const INFO = {
  gatewayId: 'gw_abcdefghjkmn',
  version: '0.2.0',
  protocol: { oldest: 1, newest: 2 },
  capabilities: [],
  launchers: [{ name: 'vm', isolation: 'microvm' }],
  defaultLauncher: 'vm',
  modelCredentials: ['claude', 'oracle'],
  limits: {},
}

async function gateway(tasks: readonly { id: string }[]) {
  const events = [
    { type: 'state', state: 'paused' },
    { type: 'turn_ended', result: RESULT },
    { type: 'state', state: 'ended', outcome: 'postponed', reason: 'full_moon', message: 'the moon is full' },
  ].map((body, at) => JSON.stringify({ seq: at + 1, source: 'gateway', at: AT, turn: 1, ...body }))
  const { url, requests } = await loopback((_, response, { pathname }) => {
    const task = tasks.find(({ id }) => pathname.startsWith(`/v1/tasks/${id}`)) ?? tasks[0]
    if (pathname === '/v1/info') return sendJson(response, INFO)
    if (pathname.endsWith('/events')) return void response.end(`${events.join('\n')}\n`)
    if (pathname.endsWith('/shares')) return sendJson(response, { shares: [] })
    if (pathname === '/v1/tasks' && response.req.method === 'GET') return sendJson(response, { tasks })
    return sendJson(response, task)
  })
  const cli = (...args: string[]) =>
    runCli(bundle, temporaryDirectory(), args, { env: { RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: 'rct_secret' } })
  return { cli, requests }
}

test('ps lists tasks in states and with outcomes that it does not know, beside the others', async () => {
  const { cli } = await gateway([KNOWN, PAUSED, POSTPONED])
  for (const args of [
    ['ps', '-a'],
    ['ps', '-a', '-o', 'wide'],
  ]) {
    const { code, stdout, stderr } = await cli(...args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(new RegExp(`^${KNOWN.id} +queued`, 'm'))
    expect(stdout).toMatch(/^task_pausedpaused +paused/m)
    expect(stdout).toMatch(/^task_postponedabc +ended +postponed/m)
  }
  expect(JSON.parse((await cli('ps', '-a', '--json')).stdout).tasks[1]).toMatchObject({
    state: 'paused',
    pausedBy: { user: 'ana' },
  })
})

test('show says the words of a newer gateway as they are', async () => {
  const { cli } = await gateway([PAUSED, POSTPONED])
  const paused = await cli('show', PAUSED.id)
  expect(paused).toMatchObject({ code: 0, stdout: expect.stringMatching(/^state +paused$/m) })
  const { code, stdout } = await cli('show', POSTPONED.id)
  expect(code).toBe(0)
  expect(stdout).toMatch(/^outcome +postponed$/m)
  expect(stdout).toMatch(/^reason +full_moon/m)
  expect(stdout).toMatch(/^isolation +microvm$/m)
})

test('run goes on through an unknown state to an unknown outcome, which is no success', async () => {
  const { cli } = await gateway([POSTPONED])
  const { code, stdout } = await cli('run', '--unsandboxed', '--no-workspace', 'do it')
  expect(stdout).toMatch(/✗ postponed the moon is full \(full_moon\)/)
  expect(code).toBe(EXIT_CODES.internal)
  const lines = (await cli('run', '--json', '--unsandboxed', '--no-workspace', 'do it')).stdout.trim().split('\n')
  expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ type: 'task', task: { outcome: 'postponed' } })
  expect(lines.map((line) => JSON.parse(line))).toContainEqual(expect.objectContaining({ type: 'turn_ended' }))
})

test('an isolation that is not known here is taken for none: it is asked about, and nothing is made', async () => {
  const { cli, requests } = await gateway([POSTPONED])
  const { code, stderr } = await cli('run', '--no-workspace', 'do it')
  expect({ code, stderr }).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('--unsandboxed') })
  expect(requests).toHaveLength(1)
})

test.each([
  ['a word that is none', { ...PAUSED, state: 'paused\u001b[2J' }],
  ['a number', { ...PAUSED, state: 7 }],
  ['something else that is wrong besides', { ...PAUSED, owner: 5 }],
])('what has %s in place of a state is refused as ever', async (_, task) => {
  const { cli } = await gateway([task])
  const { code, stderr } = await cli('ps')
  expect(code).toBe(EXIT_CODES.internal)
  expect(stderr).toContain("the gateway's answer to listTasks has an unknown shape")
  expect(stderr).not.toContain('\u001b')
})
