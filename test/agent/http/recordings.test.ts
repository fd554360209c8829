/** Terminals that the agent records, whoever looks. */
import { afterEach, expect, test } from 'vitest'
import { TERMINAL_LIMITS } from '../../../agent/processes/service.ts'
import { formatBytes } from '../../../protocol/units.ts'
import { closeSound, type Loopback, startLoopback } from './loopback.ts'

const SIZE = { columns: 60, rows: 16 }
let agent: Loopback
afterEach(() => closeSound(agent))

/** Runs it to its end on a terminal that nobody looks at. */
async function run(script: string, record: boolean) {
  const { service } = agent
  const tty = { ...SIZE, term: 'xterm', record }
  const process = await service.start({ argv: ['sh', '-c', script], env: {}, stdin: true, detached: true, tty })
  await process.finished
  const response = await fetch(`${agent.url}/processes/${process.id}/recording`)
  const text = await response.text()
  return { process, response, text }
}

const linesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as [number, string, string])

test('what a terminal showed is kept with its times although nobody looked', async () => {
  agent = await startLoopback()
  const { process, response, text } = await run("printf 'gr\\303'; sleep 0.2; printf '\\274n \\033[1mbold\\n'", true)
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/x-asciicast'])
  const [header, ...entries] = linesOf(text)
  expect(header).toMatchObject({ version: 2, width: 60, height: 16, env: { TERM: 'xterm' } })
  expect(entries.map(([, , data]) => data).join('')).toBe('grün \u001b[1mbold\r\n')
  expect(entries.every(([, kind]) => kind === 'o')).toBe(true)
  expect((entries.at(-1)?.[0] ?? 0) - (entries[0]?.[0] ?? 0)).toBeGreaterThanOrEqual(0.1)
  expect(process.info().tty).toMatchObject({ viewers: 0, recordedBytes: Buffer.byteLength(text) })
})

test('from its limit on nothing more is recorded, which the recording says; the program goes on', async () => {
  const recordingBytes = 3_000
  agent = await startLoopback({ terminal: () => ({ ...TERMINAL_LIMITS, recordingBytes }) })
  const { process, text } = await run(
    'for i in $(seq 2000); do printf "\\033[1mline $i\\n"; done; echo done; exit 3',
    true,
  )
  expect(process.exit).toMatchObject({ code: 3 })
  const last = linesOf(text).at(-1)?.[2]
  expect(last).toContain(
    `[rclaude: the recording ends here, at ${formatBytes(recordingBytes)} (limits.terminalRecording)]`,
  )
  expect(text).not.toContain('line 2000')
  expect(text.length).toBeLessThan(recordingBytes + 300)
})

test('one that nobody asked to record is not', async () => {
  agent = await startLoopback()
  const { response, text, process } = await run('echo x', false)
  expect([response.status, text]).toEqual([404, expect.stringContaining('start it with rclaude shell --recorded')])
  expect(process.info().tty).not.toHaveProperty('recordedBytes')
})
