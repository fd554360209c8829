/** What a gateway says when it refuses, in an answer that is read by hand. */
import type { IncomingMessage } from 'node:http'
import { Problem, RclaudeError } from '../protocol/errors.ts'

/** Largest part of a refusal that is read. */
const MAX_REFUSAL_BYTES = 64 * 1024

/** Ends also when the answer is cut or too long: what there is of it must do. */
export async function refusalText(response: IncomingMessage): Promise<string> {
  let text = ''
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk
      if (text.length > MAX_REFUSAL_BYTES) break
    }
  } catch {
    // The status says enough.
  }
  return text
}

export function refusalOf(status: number, text: string): RclaudeError {
  try {
    return RclaudeError.fromProblem(Problem.parse(JSON.parse(text)))
  } catch {
    const code = status === 401 ? 'unauthenticated' : status < 500 ? 'invalid' : 'unavailable'
    return new RclaudeError(code, `the WebSocket was answered with HTTP ${status}: ${text.slice(0, 200)}`)
  }
}
