/** What the gateway says when it refuses something. */
import type { IncomingMessage } from 'node:http'
import { Problem } from '../protocol/errors.ts'

/** Longest refusal that is read. */
const MAX_REFUSAL = 16 * 1024

/** Undefined when the text is no problem document: it comes from no gateway of ours. */
export function problemIn(text: string): Problem | undefined {
  try {
    return Problem.safeParse(JSON.parse(text)).data
  } catch {
    return undefined // no JSON
  }
}

/** Why the gateway refused, in its own words if it found any. */
export async function readRefusal(answer: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_REFUSAL) break
  }
  return problemIn(text)?.detail ?? `the gateway answered ${answer.statusCode}`
}
