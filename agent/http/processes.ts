/** `/processes`: list, start, look at, signal, stop, read output from an offset, write input at an offset. */
import { createReadStream } from 'node:fs'
import { Hono } from 'hono'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { ProcessSpec, SignalName, STDIN_WINDOW_BYTES } from '../../protocol/process.ts'
import type { Piece } from '../processes/journal.ts'
import type { ManagedProcess } from '../processes/managed-process.ts'
import type { ProcessService } from '../processes/service.ts'
import { parse, parseBody } from './problem.ts'
import { type AgentEnv, stream, uploadOf } from './send.ts'

/** The id of the process that an answer is about. */
export const PROCESS_HEADER = 'rclaude-process'
/** Offset of the first byte of an output answer. */
export const OFFSET_HEADER = 'rclaude-offset'
/** `from-to`: bytes before the first byte of an output answer that were asked for and are lost. */
export const GAP_HEADER = 'rclaude-gap'

const offset = z.coerce.number().int().nonnegative().default(0)
const flag = z.enum(['0', '1', 'true', 'false', '']).transform((text) => text !== '0' && text !== 'false')
const OutputQuery = z.object({
  channel: z.enum(['stdout', 'stderr']).default('stdout'),
  since: offset,
  follow: flag.default(false),
})
const StdinQuery = z.object({ offset, eof: flag.default(false) })
const SignalBody = z.object({ signal: SignalName })

export function processRoutes(service: ProcessService): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()

  app.get('/', (c) => c.json({ processes: service.list().map((one) => one.info()) }))

  app.post('/', async (c) => {
    const started = await service.start(await parseBody(c.req.raw, ProcessSpec))
    return c.json(started.info(), 201, { [PROCESS_HEADER]: started.id })
  })

  app.get('/:id', (c) => {
    const found = service.get(c.req.param('id'))
    return c.json(found.info(), 200, { [PROCESS_HEADER]: found.id })
  })

  app.get('/:id/output', async (c) => {
    const found = service.get(c.req.param('id'))
    const query = parse('the query', OutputQuery, c.req.query())
    const since = oldestFrom(found, query.channel, query.since)
    const headers = {
      'content-type': 'application/octet-stream',
      [PROCESS_HEADER]: found.id,
      [OFFSET_HEADER]: String(since),
      ...(since > query.since && { [GAP_HEADER]: `${query.since}-${since}` }),
    }
    return stream(c, headers, async ({ signal, write }) => {
      for await (const piece of found.journal[query.channel].read(since, { follow: query.follow, signal }))
        await write(bytesOf(piece))
      return undefined
    })
  })

  app.get('/:id/recording', (c) => {
    const { id, terminal } = service.get(c.req.param('id'))
    const recording = terminal?.recording
    if (recording === undefined)
      throw new RclaudeError('not_found', `process ${id} is not recorded: start it with rclaude shell --recorded`)
    const headers = { 'content-type': 'application/x-asciicast', [PROCESS_HEADER]: id }
    return stream(c, headers, async ({ write }) => {
      for await (const piece of createReadStream(recording.file)) await write(piece as Buffer)
      return undefined
    })
  })

  app.post('/:id/signal', async (c) => {
    const found = service.get(c.req.param('id'))
    found.signal((await parseBody(c.req.raw, SignalBody)).signal)
    return c.json(found.info())
  })

  app.delete('/:id', async (c) => {
    const found = service.get(c.req.param('id'))
    await found.stop()
    return c.json(found.info())
  })

  app.put('/:id/stdin', async (c) => {
    const { stdin, id } = service.get(c.req.param('id'))
    const query = parse('the query', StdinQuery, c.req.query())
    let at = query.offset
    for await (const chunk of uploadOf(c)) {
      stdin.write(at, chunk)
      at += chunk.length
      await stdin.waitBelow(STDIN_WINDOW_BYTES, c.req.raw.signal)
    }
    if (at > stdin.accepted)
      throw new RclaudeError('conflict', `process ${id} has only ${stdin.accepted} bytes of input`)
    if (query.eof) stdin.end()
    return c.json({ stdinAccepted: stdin.accepted })
  })

  return app
}

/** Where reading can begin: `since`, or the first byte after it that is still held. */
function oldestFrom(found: ManagedProcess, channel: 'stdout' | 'stderr', since: number): number {
  const journal = found.journal[channel]
  if (since > journal.end)
    throw new RclaudeError('invalid', `${channel} of process ${found.id} has ${journal.end} bytes, not ${since}`)
  return journal.heldFrom(since)
}

/** A raw answer has no way to tell of a gap in its middle: it is cut, and the next request is told by header. */
function bytesOf(piece: Piece): Buffer {
  if (piece.kind === 'gap') throw new Error(`bytes ${piece.from} to ${piece.to} were lost`)
  return piece.bytes
}
