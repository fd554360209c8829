/**
 * A command line of this system is bytes, what we send is text. Node has read bytes that are no UTF-8 as U+FFFD by the
 * time we see them: a program that was given something else than what was typed would be worse than none.
 */
import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { RclaudeError } from '../protocol/errors.ts'

const REPLACEMENT = '\ufffd'
/** What this process was really given, on Linux. */
const SOURCES = ['/proc/self/cmdline', '/proc/self/environ']

/** @throws {RclaudeError} `invalid` when one of `words` may have lost bytes on the way to us */
export async function refuseMangled(words: readonly string[], sources: readonly string[] = SOURCES): Promise<void> {
  const word = words.find((one) => one.includes(REPLACEMENT))
  if (word === undefined) return
  const given = await Promise.all(sources.map((file) => readFile(file).catch(() => Buffer.alloc(0))))
  if (given.every((bytes) => isUtf8(bytes))) return // somebody really typed U+FFFD
  throw new RclaudeError(
    'invalid',
    `${JSON.stringify(word)} is not valid UTF-8 and cannot be sent as it is; give it on standard input, or let a shell there make it: sh -c 'printf "\\377"'`,
  )
}
