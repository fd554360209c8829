/** The README's section "By curl alone", run as it stands there. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TaskEvent } from '../../protocol/event.ts'
import { startWorld } from '../helpers/world.ts'

const readme = readFileSync('README.md', 'utf8')
const section = /<!-- curl:start -->([\s\S]*?)<!-- curl:end -->/.exec(readme)?.[1] ?? ''
const script = Array.from(section.matchAll(/```sh\n([\s\S]*?)```/g), ([, code]) => code).join('\n')

function runScript(cwd: string, env: Record<string, string>): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) =>
    execFile(
      'sh',
      ['-eu', '-c', script],
      { cwd, env: { PATH: process.env.PATH ?? '', ...env } },
      (error, stdout, stderr) =>
        error ? reject(new Error(`${error.message}\n${stdout}\n${stderr}`)) : resolve({ stdout, stderr }),
    ),
  )
}

test('a whole task is driven by curl alone, with the commands of the README', async () => {
  expect(script).toContain('curl')
  const world = await startWorld()
  const cwd = join(world.directory, 'curl')
  mkdirSync(cwd)
  const { stdout } = await runScript(cwd, world.asAdmin)
  expect(stdout).toMatch(/"exit":\{"code":0/) // exec
  expect(stdout).toContain('a note\n') // file
  expect(stdout).toContain('"outcome":"succeeded"')
  expect(stdout).toMatch(/^\+HELLO$/m) // patch
  expect(stdout.trimEnd().endsWith('HELLO')).toBe(true) // artifact
  const events = readFileSync(join(cwd, 'events.ndjson'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
  const seqs = events.map((line) => TaskEvent.parse(JSON.parse(line)).seq)
  expect(seqs).toEqual(seqs.map((_, index) => index + 1))
  expect(JSON.parse(events.at(-1) ?? '{}')).toMatchObject({ type: 'state', state: 'ended', outcome: 'succeeded' })
})

test('server-sent events carry their number, and Last-Event-ID goes on after it', async () => {
  const world = await startWorld({ settings: { RCLAUDE_INTERVALS__EVENT_COMMENT: '200ms' } })
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '1'], workspace: { kind: 'none' } })
  const read = async (headers: Record<string, string>) => {
    const response = await fetch(`${world.url}/v1/tasks/${id}/events?follow=1`, {
      headers: { authorization: `Bearer ${world.adminToken}`, accept: 'text/event-stream', ...headers },
    })
    expect(response.headers.get('content-type')).toContain('text/event-stream')
    return response.text()
  }
  const whole = await read({})
  const ids = Array.from(whole.matchAll(/^id: (\d+)$/gm), ([, number]) => Number(number))
  expect(ids).toEqual(ids.map((_, index) => index + 1))
  expect(whole).toMatch(/^: still here$/m)
  expect(whole).toMatch(/event: end\n/)
  const rest = await read({ 'last-event-id': '3' })
  expect(/^id: (\d+)$/m.exec(rest)?.[1]).toBe('4')
})
