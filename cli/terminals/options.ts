/** What the commands with a terminal have in common. */
import { InvalidArgumentError, Option } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import type { World } from '../world.ts'

const USUAL_KEY = '~'

export const TERMINAL_OPTIONS = {
  escapeChar: () =>
    new Option(
      '--escape-char <char>',
      `before . d ? at the beginning of a line it speaks to rclaude; or none (default: ${USUAL_KEY})`,
    ).argParser(escapeCharacter),
}

function escapeCharacter(text: string): string {
  if (text !== 'none' && !/^[!-~]$/.test(text)) throw new InvalidArgumentError('Expected one character, or none.')
  return text
}

export const escapeKey = (option: string | undefined): string | undefined =>
  option === 'none' ? undefined : (option ?? USUAL_KEY)

/** @throws RclaudeError `invalid` in docker's words */
export function needTerminal({ stdin }: Pick<World, 'stdin'>): void {
  if (stdin.isTTY !== true)
    throw new RclaudeError('invalid', 'the input device is not a TTY; leave out -t, or run it from a terminal')
}
