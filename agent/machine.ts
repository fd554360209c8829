/**
 * What the agent's surroundings call the machine that it runs on, for the gateway to hold against what it launched. In a task of
 * ECS that is the TaskARN, told by ECS's metadata server (task-metadata-endpoint-v4.html); elsewhere nobody says anything.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'

/** Set by ECS in each container. */
const METADATA_VARIABLE = 'ECS_CONTAINER_METADATA_URI_V4'
/** The server may start later than the container. After that, and the try that is under way, the agent dials without. */
const PATIENCE_MS = 5_000
const ONE_TRY_MS = 2_000
const PAUSE_MS = 100
/** A task of one container takes about 3 KB. */
const MAX_ANSWER_BYTES = 256 * 1024

const Metadata = z.object({ TaskARN: z.string().regex(/^arn:[\x21-\x7e]{1,300}$/) })

/** Undefined where nothing is known; never throws. */
export async function machineName(
  env: NodeJS.ProcessEnv,
  log: (message: string) => void,
  patienceMs = PATIENCE_MS,
): Promise<string | undefined> {
  const url = env[METADATA_VARIABLE]
  if (url === undefined) return undefined
  const deadline = Date.now() + patienceMs
  for (;;) {
    try {
      return await ask(`${url}/task`)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      if (Date.now() + PAUSE_MS >= deadline) {
        log(`ECS does not say which task this is: ${why}`)
        return undefined
      }
      await pause(PAUSE_MS)
    }
  }
}

/** Straight, whatever proxies there are: the server is a neighbour. */
async function ask(url: string): Promise<string> {
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(ONE_TRY_MS) })
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`)
  let text = ''
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    if (text.length > MAX_ANSWER_BYTES) throw new Error(`${url} answered more than ${MAX_ANSWER_BYTES} bytes`)
  }
  return Metadata.parse(JSON.parse(text)).TaskARN
}
