/**
 * `POST /exec`: one process, its whole output as the answer, usable from curl. As NDJSON with the exit as its last line,
 * or, with `?output=stdout`, the raw bytes and the exit code in a trailer (`curl -D -` shows it; the process's id is in
 * a header, for those who cannot see trailers). When the client goes away the process is stopped, unless it is detached.
 */
import { isUtf8 } from 'node:buffer'
import { constants } from 'node:os'
import { Hono } from 'hono'
import { z } from 'zod'
import { type ExecLine, ExecRequest, exitCodeOfProcess, type OutputChannel } from '../../protocol/process.ts'
import type { Attachment, ManagedProcess, Offsets } from '../processes/managed-process.ts'
import type { ProcessService } from '../processes/service.ts'
import { parse, parseBody } from './problem.ts'
import { PROCESS_HEADER } from './processes.ts'
import { type AgentEnv, type Answer, stream } from './send.ts'

/** `-1` is said where no code could be had because a newer client took the process over. */
export const EXIT_CODE_TRAILER = 'Rclaude-Exit-Code'

const ExecQuery = z.object({ output: z.enum(['ndjson', 'stdout']).default('ndjson') })

export function execRoutes(service: ProcessService): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  app.post('/', async (c) => {
    const { output } = parse('the query', ExecQuery, c.req.query())
    const { stdin, ...spec } = await parseBody(c.req.raw, ExecRequest)
    const started = await service.start({ ...spec, stdin: stdin !== false }, { attached: true })
    if (typeof stdin === 'string') {
      started.stdin.write(0, Buffer.from(stdin))
      started.stdin.end()
    }
    const headers = {
      [PROCESS_HEADER]: started.id,
      'content-type': output === 'stdout' ? 'application/octet-stream' : 'application/x-ndjson',
      ...(output === 'stdout' && { trailer: EXIT_CODE_TRAILER }),
    }
    return stream(c, headers, (answer) => answerWith(output === 'stdout' ? sendRaw : sendLines, started, answer))
  })
  return app
}

type Send = (run: Run) => Promise<Record<string, string> | undefined>

interface Run {
  process: ManagedProcess
  answer: Answer
  signal: AbortSignal
  /** Tells that output was handed on. */
  consumed(channel: OutputChannel, offset: number): void
}

async function answerWith(send: Send, process: ManagedProcess, answer: Answer) {
  const taken = new AbortController()
  const attachment = process.attach({ stdout: 0, stderr: 0 }, () => taken.abort(new Error('another client attached')))
  const offsets: Offsets = { stdout: 0, stderr: 0 }
  const stopWhenGone = () => {
    if (!process.spec.detached) void process.stop()
  }
  answer.signal.addEventListener('abort', stopWhenGone, { once: true })
  if (answer.signal.aborted) stopWhenGone()
  const signal = AbortSignal.any([answer.signal, taken.signal])
  try {
    const trailers = await send({ process, answer, signal, consumed: consumer(attachment, offsets) })
    signal.throwIfAborted() // an answer that is cut short must not look complete
    return trailers
  } finally {
    answer.signal.removeEventListener('abort', stopWhenGone)
    attachment.detach()
  }
}

function consumer(attachment: Attachment, offsets: Offsets) {
  return (channel: OutputChannel, offset: number) => {
    offsets[channel] = offset
    attachment.consumed(offsets)
  }
}

async function sendRaw(run: Run): Promise<Record<string, string>> {
  await Promise.all([
    forEachPiece(run, 'stdout', async (bytes) => run.answer.write(bytes)),
    forEachPiece(run, 'stderr', async () => {}),
  ])
  run.signal.throwIfAborted()
  const exit = await run.process.finished
  return { [EXIT_CODE_TRAILER]: String(exitCodeOfProcess(exit, constants.signals)) }
}

async function forEachPiece(run: Run, channel: OutputChannel, handle: (bytes: Buffer) => Promise<void>): Promise<void> {
  for await (const piece of run.process.journal[channel].read(0, { follow: true, signal: run.signal })) {
    if (piece.kind === 'gap') throw new Error(`bytes ${piece.from} to ${piece.to} of ${channel} were lost`)
    await handle(piece.bytes)
    run.consumed(channel, piece.offset + piece.bytes.length)
  }
}

async function sendLines(run: Run): Promise<undefined> {
  const say = (line: ExecLine) => run.answer.write(`${JSON.stringify(line)}\n`)
  await Promise.all([sendChannelLines(run, 'stdout', say), sendChannelLines(run, 'stderr', say)])
  run.signal.throwIfAborted()
  const exit = await run.process.finished
  await say({ exit, exitCode: exitCodeOfProcess(exit, constants.signals) })
}

async function sendChannelLines(run: Run, channel: OutputChannel, say: (line: ExecLine) => Promise<void>) {
  let held: { offset: number; bytes: Buffer } | undefined // a character whose other half is still to come
  const release = async () => {
    if (held !== undefined) await say({ channel, offset: held.offset, base64: held.bytes.toString('base64') })
    held = undefined
  }
  for await (const piece of run.process.journal[channel].read(0, { follow: true, signal: run.signal })) {
    if (piece.kind === 'gap') {
      await release()
      await say({ channel, gap: { from: piece.from, to: piece.to } })
      run.consumed(channel, piece.to)
      continue
    }
    const offset = held?.offset ?? piece.offset
    const bytes = held === undefined ? piece.bytes : Buffer.concat([held.bytes, piece.bytes])
    const whole = bytes.subarray(0, bytes.length - partialCharacter(bytes))
    held =
      whole.length < bytes.length ? { offset: offset + whole.length, bytes: bytes.subarray(whole.length) } : undefined
    if (whole.length > 0)
      await say({
        channel,
        offset,
        ...(isUtf8(whole) ? { text: whole.toString('utf8') } : { base64: whole.toString('base64') }),
      })
    run.consumed(channel, piece.offset + piece.bytes.length)
  }
  await release()
}

/** Bytes at the end that begin a UTF-8 character and do not finish it: 0 to 3. */
function partialCharacter(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0
    if (byte < 0x80) return 0
  }
  return 0
}
