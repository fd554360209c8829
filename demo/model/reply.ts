/** What a script can answer: a message, a refusal, a stream that breaks off, or nothing at all. */
import type { Conversation } from './conversation.ts'

export interface TokenUsage {
  input: number
  output: number
  cacheRead: number
  cacheWrite: number
}

export interface MessageReply {
  kind: 'message'
  thinking?: string
  text?: string
  tools?: readonly { name: string; input: Record<string, unknown> }[]
  usage?: Partial<TokenUsage>
  /** Before the first byte. */
  delayMs?: number
  /** Between two pieces of text, so that a person can watch. */
  pieceDelayMs?: number
  /** Break the connection after the text, before the message is complete. */
  cut?: boolean
}

export interface ErrorReply {
  kind: 'error'
  status: number
  message: string
  headers?: Record<string, string>
}

/** Takes the request and never answers it. */
export interface HangReply {
  kind: 'hang'
}

export type Reply = MessageReply | ErrorReply | HangReply

/** Decides what the model says next; a pure function of the conversation, since clients repeat requests. */
export type Script = (conversation: Conversation) => Reply

/** Usage when a script names none: small, but priced. */
export const DEFAULT_USAGE: TokenUsage = { input: 1_200, output: 80, cacheRead: 0, cacheWrite: 0 }

export const say = (text: string, more: Omit<MessageReply, 'kind' | 'text'> = {}): MessageReply => ({
  kind: 'message',
  text,
  ...more,
})

export const use = (
  name: string,
  input: Record<string, unknown>,
  more: Omit<MessageReply, 'kind' | 'tools'> = {},
): MessageReply => ({ kind: 'message', tools: [{ name, input }], ...more })

export const bash = (command: string, more: Omit<MessageReply, 'kind' | 'tools'> = {}): MessageReply =>
  use('Bash', { command, description: command.slice(0, 60) }, more)

export const fail = (status: number, message: string, headers: Record<string, string> = {}): ErrorReply => ({
  kind: 'error',
  status,
  message,
  headers,
})

export const hang: HangReply = { kind: 'hang' }

/** Answers the n-th step after each prompt with the n-th reply, and goes on with the last one. */
export function steps(first: Reply | Script, ...rest: (Reply | Script)[]): Script {
  const replies = [first, ...rest]
  return (conversation) => {
    const reply = replies[conversation.step] ?? replies.at(-1) ?? first
    return typeof reply === 'function' ? reply(conversation) : reply
  }
}
