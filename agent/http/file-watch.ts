/** `GET /files/DIR?watch=1`: changes of a directory and all below it, as server-sent events. See protocol/watch.ts. */
import type { Context } from 'hono'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { DEFAULT_IGNORE } from '../../protocol/watch.ts'
import type { Watches } from '../watch/watches.ts'
import { parse } from './problem.ts'
import { type AgentEnv, type Answer, stream } from './send.ts'

/** So that both ends notice when the other is gone. */
const COMMENT_MS = 15_000
/** What a browser waits before it connects again. */
const RETRY_MS = 1_000

const Patterns = z.array(z.string().max(500)).max(100)

export async function answerWatch(c: Context<AgentEnv>, watches: Watches, at: readonly Buffer[]): Promise<Response> {
  if (c.req.method === 'HEAD') throw new RclaudeError('unsupported', 'a watch is asked for with GET')
  const ignore = patternsOf(c)
  const { feed, release } = await watches.join(at, ignore)
  try {
    const since = c.req.header('last-event-id') || undefined
    const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
    return await stream(c, headers, async (answer) => {
      await answer.write(`retry: ${RETRY_MS}\n\n`)
      const comments = setInterval(() => comment(answer), COMMENT_MS).unref()
      try {
        for await (const frame of feed.read({ ignore }, since, answer.signal)) await answer.write(frame)
      } finally {
        clearInterval(comments)
      }
      return undefined
    })
  } finally {
    release()
  }
}

function patternsOf(c: Context<AgentEnv>): string[] {
  const given = c.req.queries('ignore')
  if (given === undefined) return [...DEFAULT_IGNORE]
  return parse('ignore', Patterns, given).filter((pattern) => pattern !== '')
}

const comment = (answer: Answer): void => void answer.write(': still here\n\n')
