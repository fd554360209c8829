/**
 * Looks at what a snapshot would send before it is sent: much of it, or a file that looks like a secret, is asked about.
 * Where nobody can be asked, `--yes` is the answer for that one call.
 */
import { RclaudeError } from '../protocol/errors.ts'
import { formatBytes, parseBytes } from '../protocol/units.ts'
import { oneLine } from './neutralise.ts'
import { count } from './output.ts'
import { confirm } from './prompt.ts'
import type { RunView } from './run-view.ts'
import { type Survey, type SurveyedFile, surveyedBytes } from './workspace/survey.ts'
import { canAsk, variable, type World } from './world.ts'

/** More than this is asked about; RCLAUDE_ASK_ABOVE sets another amount. */
export const ASK_ABOVE_BYTES = 100_000_000
const SHOWN_SECRETS = 10
const SHOWN_FILES = 5
/** A file that is worth naming when there is much to send. */
const LARGE_BYTES = 1_000_000

export interface Agreement {
  /** --yes */
  yes?: boolean | undefined
  /** What was sent of this project the last time. */
  agreedBytes?: number | undefined
}

/** @throws {RclaudeError} `invalid` when the user declines, or cannot be asked */
export async function agreeToSend(
  world: World,
  view: Pick<RunView, 'pause' | 'resume'>,
  survey: Survey,
  { yes, agreedBytes = 0 }: Agreement,
): Promise<void> {
  if (yes === true) return
  const bytes = surveyedBytes(survey)
  const isMuch = bytes > Math.max(askAbove(world), agreedBytes)
  if (!isMuch && survey.secrets.length === 0) return
  const reasons = [
    ...(isMuch ? [`${formatBytes(bytes)} would be sent`] : []),
    ...(survey.secrets.length > 0
      ? [`${count(survey.secrets.length, 'file')} that git does not track may be secret`]
      : []),
  ].join(', and ')
  if (!canAsk(world))
    throw new RclaudeError(
      'invalid',
      `${reasons}${named(survey)}: say --yes if that is meant, leave files out with --exclude PATTERN or .gitignore (look first: --dry-run); nothing was sent`,
    )
  view.pause()
  try {
    world.stderr.write(`${[...secretLines(survey), ...(isMuch ? largeLines(survey) : [])].join('\n')}\n`)
    if (await confirm(world, `${reasons.charAt(0).toUpperCase()}${reasons.slice(1)}. Send it?`)) return
  } finally {
    await view.resume()
  }
  throw new RclaudeError(
    'invalid',
    'nothing was sent: leave files out with --exclude PATTERN or .gitignore; --dry-run shows what would go',
  )
}

/** `1,234 files, 56.0 MiB`: what one sees before it goes. */
export function surveyText(survey: Survey): string {
  const bytes = surveyedBytes(survey)
  return `${count(survey.files, 'file')}, ${bytes === 0 ? 'nothing new to send' : formatBytes(bytes)}`
}

export const secretLines = ({ secrets }: Survey): string[] =>
  some(secrets, SHOWN_SECRETS, ({ path, why }) => `  ${oneLine(path)} may hold ${why}`)

/** The largest files that are not committed, and the history. */
export function largeLines({ changed, untracked, historyBytes }: Survey): string[] {
  const large = [...changed, ...untracked].filter(({ bytes }) => bytes >= LARGE_BYTES).sort((a, b) => b.bytes - a.bytes)
  const line = ({ path, bytes }: SurveyedFile) => `  ${oneLine(path)} ${formatBytes(bytes)}`
  const history =
    historyBytes >= LARGE_BYTES
      ? [`  committed files and history ${formatBytes(historyBytes)} (--depth N for less)`]
      : []
  return [...history, ...some(large, SHOWN_FILES, line)]
}

function some<Item>(items: readonly Item[], most: number, line: (item: Item) => string): string[] {
  const more = items.length - most
  return [...items.slice(0, most).map(line), ...(more > 0 ? [`  and ${more} more`] : [])]
}

function named({ secrets }: Survey): string {
  if (secrets.length === 0) return ''
  const names = secrets.slice(0, 3).map(({ path, why }) => `${oneLine(path)}: ${why}`)
  return ` (${names.join('; ')}${secrets.length > names.length ? '; ...' : ''})`
}

/** @throws {RclaudeError} `invalid` */
function askAbove(world: World): number {
  const text = variable(world, 'RCLAUDE_ASK_ABOVE')
  const bytes = text === undefined ? ASK_ABOVE_BYTES : parseBytes(text)
  if (bytes === undefined)
    throw new RclaudeError('invalid', `RCLAUDE_ASK_ABOVE=${text}: expected a size like 500MiB or 2GiB`)
  return bytes
}
