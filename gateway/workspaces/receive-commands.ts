/**
 * The first part of a `git push`: which refs it wants to change, read before git is started.
 *
 * The body begins with pkt-lines (four hex digits of length, then the content): optional `shallow <id>` lines, then one
 * `<old> <new> <ref>` per ref, the first followed by NUL and capabilities, then the flush packet `0000`, then the pack.
 * https://git-scm.com/docs/pack-protocol#_pushing_data_to_a_server
 */
import { RclaudeError } from '../../protocol/errors.ts'

/** Bytes of commands: a few refs and a shallow boundary. More is no push of ours. */
export const MAX_COMMAND_BYTES = 1024 ** 2

export interface RefCommand {
  ref: string
  old: string
  new: string
}

export interface ReceiveCommands {
  commands: RefCommand[]
  capabilities: string[]
}

/** Undefined while the flush packet has not come yet. @throws {RclaudeError} `invalid` when it is no push */
export function parseReceiveCommands(bytes: Buffer): ReceiveCommands | undefined {
  const found: ReceiveCommands = { commands: [], capabilities: [] }
  for (let at = 0; ; ) {
    if (bytes.length < at + 4) return tooLong(bytes)
    const digits = bytes.toString('latin1', at, at + 4)
    if (!/^[0-9a-f]{4}$/i.test(digits)) throw notAPush(`"${JSON.stringify(digits).slice(1, -1)}" is no packet length`)
    const length = Number.parseInt(digits, 16)
    if (length === 0) return found
    if (length < 5) throw notAPush(`a packet of length ${length}`)
    if (bytes.length < at + length) return tooLong(bytes)
    readLine(bytes.toString('latin1', at + 4, at + length), found)
    at += length
  }
}

function readLine(line: string, found: ReceiveCommands): void {
  const [text = '', capabilities] = line.replace(/\n$/, '').split('\0')
  if (capabilities !== undefined && found.capabilities.length === 0)
    found.capabilities.push(...capabilities.split(' ').filter(Boolean))
  if (/^shallow [0-9a-f]{40,64}$/.test(text)) return
  const [, old, next, ref] = /^([0-9a-f]{40,64}) ([0-9a-f]{40,64}) (.+)$/.exec(text) ?? []
  if (old === undefined || next === undefined || ref === undefined)
    throw notAPush('an unknown command (signed pushes are not taken)')
  found.commands.push({ old, new: next, ref: Buffer.from(ref, 'latin1').toString() })
}

function tooLong(bytes: Buffer): undefined {
  if (bytes.length > MAX_COMMAND_BYTES) throw notAPush(`more than ${MAX_COMMAND_BYTES} bytes of commands`)
  return undefined
}

const notAPush = (why: string) => new RclaudeError('invalid', `the body is not a git push: ${why}`)

/** Why a push may not go on; undefined when it may. */
export function refuseCommands(commands: readonly RefCommand[], allowed: readonly string[]): string | undefined {
  for (const { ref, new: next } of commands) {
    if (/^0+$/.test(next)) return `${ref} may not be deleted`
    if (!allowed.includes(ref))
      return allowed.length === 0
        ? `${ref} may not be written (the workspace is sealed)`
        : `${ref} may not be written (only ${allowed.join(', ')})`
  }
  return undefined
}

/** The answer that makes the client's git say `[remote rejected] ref (reason)`. */
export function rejection({ commands, capabilities }: ReceiveCommands, reason: string): Buffer {
  const lines = ['unpack ok\n', ...commands.map(({ ref }) => `ng ${ref} ${reason}\n`)]
  const report = Buffer.concat([...lines.map((line) => packet(Buffer.from(line))), FLUSH])
  const sideBand = capabilities.some((capability) => capability.startsWith('side-band'))
  return sideBand ? Buffer.concat([packet(Buffer.concat([Buffer.of(1), report])), FLUSH]) : report
}

const FLUSH = Buffer.from('0000')
export const packet = (content: Buffer): Buffer =>
  Buffer.concat([Buffer.from((content.length + 4).toString(16).padStart(4, '0')), content])
