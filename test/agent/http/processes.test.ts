import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import type { ProcessServiceOptions } from '../../../agent/processes/service.ts'
import { ExecLine, type ExecRequestInput, ProcessInfo, type ProcessSpecInput } from '../../../protocol/process.ts'
import { type Loopback, startLoopback, until } from './loopback.ts'

const run = promisify(execFile)
let open: Loopback | undefined

afterEach(async () => {
  const faults = open?.faults
  await open?.close()
  open = undefined
  expect(faults ?? []).toEqual([])
})

async function agent(options: Partial<ProcessServiceOptions> = {}): Promise<Loopback> {
  open = await startLoopback(options)
  return open
}

const post = (url: string, body: unknown) => fetch(url, { method: 'POST', body: JSON.stringify(body) })

async function start(url: string, spec: ProcessSpecInput): Promise<ProcessInfo> {
  const response = await post(`${url}/processes`, spec)
  expect(response.status).toBe(201)
  return ProcessInfo.parse(await response.json())
}

async function exec(url: string, body: ExecRequestInput): Promise<ExecLine[]> {
  const response = await post(`${url}/exec`, body)
  expect(response.status).toBe(200)
  const lines = (await response.text()).trim().split('\n')
  return lines.map((line) => ExecLine.parse(JSON.parse(line)))
}

function outputOf(lines: ExecLine[], channel: 'stdout' | 'stderr'): Buffer {
  const parts = lines.flatMap((line) => {
    if (!('channel' in line) || line.channel !== channel) return []
    if ('gap' in line) throw new Error('unexpected gap')
    return [
      { offset: line.offset, bytes: 'text' in line ? Buffer.from(line.text) : Buffer.from(line.base64, 'base64') },
    ]
  })
  let at = 0
  for (const { offset, bytes } of parts) {
    expect(offset).toBe(at)
    at += bytes.length
  }
  return Buffer.concat(parts.map(({ bytes }) => bytes))
}

describe('/processes', () => {
  it('starts, lists and shows a process, and gives its output from any offset', async () => {
    const { url } = await agent()
    const { id } = await start(url, { argv: ['printf', 'hello world'] })
    const followed = await fetch(`${url}/processes/${id}/output?since=6&follow=1`)
    expect(await followed.text()).toBe('world')
    expect(followed.headers.get('rclaude-offset')).toBe('6')
    expect(followed.headers.get('rclaude-gap')).toBeNull()
    expect(followed.headers.get('rclaude-process')).toBe(id)
    await until('it has ended', async () => {
      const info = ProcessInfo.parse(await (await fetch(`${url}/processes/${id}`)).json())
      return info.exit?.code === 0 && info.stdout.end === 11
    })
    const { processes } = (await (await fetch(`${url}/processes`)).json()) as { processes: unknown[] }
    expect(processes.map((one) => ProcessInfo.parse(one).id)).toEqual([id])
  })

  it('tells of a gap before the first byte by header', async () => {
    const { url, service } = await agent({ journal: { segmentBytes: 64 * 1024, quotaBytes: 256 * 1024 } })
    const { id } = await start(url, { argv: ['head', '-c', '2000000', '/dev/zero'], detached: true })
    await service.get(id).finished
    await until('the quota is kept', () => service.get(id).info().stdout.start >= 2_000_000 - 256 * 1024)
    const response = await fetch(`${url}/processes/${id}/output`)
    const from = Number(response.headers.get('rclaude-offset'))
    expect(from).toBeGreaterThan(0)
    expect(response.headers.get('rclaude-gap')).toBe(`0-${from}`)
    expect((await response.arrayBuffer()).byteLength).toBe(2_000_000 - from)
  })

  it('signals a process and stops it', async () => {
    const { url, service } = await agent()
    const first = await start(url, { argv: ['sleep', '60'] })
    expect((await post(`${url}/processes/${first.id}/signal`, { signal: 'SIGTERM' })).status).toBe(200)
    expect(await service.get(first.id).finished).toEqual({ code: null, signal: 'SIGTERM' })
    expect((await post(`${url}/processes/${first.id}/signal`, { signal: 'SIGTERM' })).status).toBe(409)
    expect((await post(`${url}/processes/${first.id}/signal`, { signal: 'SIGNOPE' })).status).toBe(400)

    const second = await start(url, { argv: ['sleep', '60'] })
    const stopped = await fetch(`${url}/processes/${second.id}`, { method: 'DELETE' })
    expect(ProcessInfo.parse(await stopped.json()).exit).toEqual({ code: null, signal: 'SIGINT', reason: 'stopped' })
  })

  it('takes standard input by offset, and tells what it has when there is a hole', async () => {
    const { url, service } = await agent()
    const { id } = await start(url, { argv: ['cat'], stdin: true })
    const put = (query: string, body: string) => fetch(`${url}/processes/${id}/stdin?${query}`, { method: 'PUT', body })
    expect(await (await put('offset=0', 'one ')).json()).toEqual({ stdinAccepted: 4 })
    expect(await (await put('offset=2', 'e two')).json()).toEqual({ stdinAccepted: 7 })
    const hole = await put('offset=99', 'x')
    expect(hole.status).toBe(409)
    expect(hole.headers.get('content-type')).toBe('application/problem+json')
    expect(await hole.json()).toMatchObject({ code: 'conflict', detail: expect.stringContaining('only 7 bytes') })
    expect((await put('offset=7&eof=1', '')).status).toBe(200)
    await service.get(id).finished
    expect(await (await fetch(`${url}/processes/${id}/output`)).text()).toBe('one two')
  })

  it('answers errors as problem documents', async () => {
    const { url } = await agent()
    const missing = await fetch(`${url}/processes/proc_aaaaaaaaaaaa`, { headers: { 'rclaude-request-id': 'req_1' } })
    expect(missing.status).toBe(404)
    expect(await missing.json()).toMatchObject({ code: 'not_found', status: 404, requestId: 'req_1' })
    const invalid = await post(`${url}/processes`, { argv: [] })
    expect(await invalid.json()).toMatchObject({ code: 'invalid', issues: [expect.objectContaining({ path: 'argv' })] })
    const noJson = await fetch(`${url}/processes`, { method: 'POST', body: '{' })
    expect(await noJson.json()).toMatchObject({ code: 'invalid', detail: expect.stringContaining('not JSON') })
  })
})

describe('/exec', () => {
  it('keeps stdout and stderr apart and ends with the exit', async () => {
    const { url } = await agent()
    const lines = await exec(url, { argv: ['sh', '-c', 'echo out; echo err >&2; exit 3'] })
    expect(outputOf(lines, 'stdout').toString()).toBe('out\n')
    expect(outputOf(lines, 'stderr').toString()).toBe('err\n')
    expect(lines.at(-1)).toEqual({ exit: { code: 3, signal: null }, exitCode: 3 })
  })

  it('is safe for binary output and for characters cut in two', async () => {
    const { url, workspace } = await agent()
    const script =
      'for (let i = 0; i < 300; i++) process.stdout.write(Buffer.from("€".repeat(7001)));' +
      'process.stderr.write(Buffer.from(Array.from({ length: 4096 }, (_, i) => i % 256)))'
    const lines = await exec(url, { argv: [process.execPath, '-e', script], cwd: workspace })
    expect(outputOf(lines, 'stdout').equals(Buffer.from('€'.repeat(7001 * 300)))).toBe(true)
    expect(lines.every((line) => !('channel' in line) || line.channel === 'stderr' || 'text' in line)).toBe(true)
    expect(outputOf(lines, 'stderr').equals(Buffer.from(Array.from({ length: 4096 }, (_, i) => i % 256)))).toBe(true)
  })

  it('gives half a character at the very end as it is', async () => {
    const { url } = await agent()
    const lines = await exec(url, { argv: ['printf', 'a\\342\\202'] })
    expect(outputOf(lines, 'stdout')).toEqual(Buffer.from([0x61, 0xe2, 0x82]))
  })

  it('gives the text of stdin to the process, and its end', async () => {
    const { url } = await agent()
    expect(
      outputOf(await exec(url, { argv: ['wc', '-c'], stdin: 'twelve bytes' }), 'stdout')
        .toString()
        .trim(),
    ).toBe('12')
    expect(
      outputOf(await exec(url, { argv: ['wc', '-c'], stdin: '' }), 'stdout')
        .toString()
        .trim(),
    ).toBe('0')
  })

  it('keeps stdout open after stdin closes', async () => {
    const { url } = await agent()
    const lines = await exec(url, { argv: ['sh', '-c', 'cat >/dev/null; sleep 0.2; echo late'], stdin: 'x' })
    expect(outputOf(lines, 'stdout').toString()).toBe('late\n')
  })

  it('works from curl: raw bytes, the exit code in a trailer', async (test) => {
    const { url, workspace } = await agent()
    const headers = join(workspace, 'headers')
    const body = JSON.stringify({ argv: ['sh', '-c', 'printf "\\000\\377raw"; echo unseen >&2; exit 42'] })
    const args = ['-sS', '-D', headers, '-d', body, `${url}/exec?output=stdout`]
    const answer = await run('curl', args, { encoding: 'buffer' }).catch((error: NodeJS.ErrnoException) => error)
    if (answer instanceof Error) {
      expect(answer.code).toBe('ENOENT')
      console.log('skipped: there is no curl here')
      return test.skip()
    }
    expect(answer.stdout.toString('latin1')).toBe('\0\xffraw')
    expect(await readFile(headers, 'utf8')).toMatch(/^rclaude-exit-code: 42\r$/im)
    expect(await readFile(headers, 'utf8')).toMatch(/^rclaude-process: proc_/im)
  })

  it('gives the exit code of a signal and of a timeout as a shell does', async () => {
    const { url } = await agent()
    expect((await exec(url, { argv: ['sh', '-c', 'kill -TERM $$'] })).at(-1)).toMatchObject({ exitCode: 143 })
    const timeout = await exec(url, { argv: ['sleep', '60'], timeoutSeconds: 0.1 })
    expect(timeout.at(-1)).toMatchObject({ exitCode: 124, exit: { reason: 'timeout' } })
  })

  it('stops the process when the client goes away, unless it is detached', async () => {
    const { url, service } = await agent()
    for (const detached of [false, true]) {
      const controller = new AbortController()
      const response = await fetch(`${url}/exec`, {
        method: 'POST',
        body: JSON.stringify({ argv: ['sleep', '60'], detached }),
        signal: controller.signal,
      })
      const started = service.get(response.headers.get('rclaude-process') ?? '')
      controller.abort()
      if (detached) {
        await until('the client is gone', () => !started.hasClient)
        expect(started.exit).toBeUndefined()
      } else expect(await started.finished).toMatchObject({ signal: 'SIGINT', reason: 'stopped' })
    }
  })

  it('holds 150 MB back for a slow reader in bounded memory, and delivers every byte', {
    timeout: 180_000,
  }, async () => {
    const { url, service } = await agent()
    const bytes = 150_000_000
    /** After the last stall more is to come than the sockets can hold: the kernel lets them grow to about 40 MB. */
    const lastStall = bytes - 50_000_000
    // A counter in every 8 bytes: repeated, lost or swapped blocks change the sum.
    const script = `const b = Buffer.alloc(1e6); let n = 0n
      for (let i = 0; i < 150; i++) { for (let j = 0; j < 1e6; j += 8) b.writeBigUInt64LE(n++, j); require('fs').writeSync(1, b) }`
    const expected = createHash('sha256')
    for (let i = 0, n = 0n; i < 150; i++) {
      const block = Buffer.alloc(1e6)
      for (let j = 0; j < 1e6; j += 8) block.writeBigUInt64LE(n++, j)
      expected.update(block)
    }
    const body = JSON.stringify({ argv: [process.execPath, '-e', `'use strict';${writeAll(script)}`] })
    const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
      const call = request(`${url}/exec?output=stdout`, { method: 'POST' }, resolve)
      call.on('error', reject)
      call.end(body)
    })
    const { journal } = service.get(String(response.headers['rclaude-process']))
    const held = () => journal.stdout.end - journal.stdout.start
    let mostHeld = 0
    const sum = createHash('sha256')
    let received = 0
    let stallAt = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
      sum.update(chunk)
      received += chunk.length
      if (received > stallAt && stallAt < lastStall) {
        await until('the process is held back', () => held() >= 4 * 1024 ** 2, 40_000)
        stallAt += 25_000_000
      }
      mostHeld = Math.max(mostHeld, held())
    }
    expect(received).toBe(bytes)
    expect(sum.digest('hex')).toBe(expected.digest('hex'))
    expect(mostHeld).toBeLessThanOrEqual(4 * 1024 ** 2 + 64 * 1024)
    expect(stallAt).toBe(lastStall) // it was held back each time
    expect(response.trailers['rclaude-exit-code']).toBe('0')
  })
})

/** writeSync to a pipe may write less than asked, or say EAGAIN. */
function writeAll(script: string): string {
  return script.replace(
    "require('fs').writeSync(1, b)",
    `for (let at = 0; at < b.length; ) { try { at += require('fs').writeSync(1, b, at) } catch (e) { if (e.code !== 'EAGAIN') throw e } }`,
  )
}
