/**
 * What the model says in the demo. It knows one bug, but it goes by what the tools really answer: it reads the listing,
 * runs the tests, edits only when they fail and the wrong line is there, and claims success only after they passed.
 */
import { bash, type Conversation, type Reply, type Script, say, type ToolCall, use } from './model-server.ts'
import { DEMO_BUG } from './repository.ts'

const LOOK = 'pwd && git ls-files'
const TEST = 'npm test'

export interface DemoPace {
  /** Between two pieces of text. */
  pieceDelayMs?: number
  /** Before each reply, as if the model thought. */
  delayMs?: number
}

export function fixFailingTest(pace: DemoPace = {}): Script {
  return (conversation) => {
    const reply = next(conversation)
    return reply.kind === 'message' ? { ...reply, ...pace } : reply
  }
}

function next({ calls }: Conversation): Reply {
  const refused = calls.find((call) => call.isError && !hasRun(call))
  if (refused !== undefined)
    return say(`I could not use ${refused.name}: ${firstSentence(refused.result)}. So nothing is changed.`)

  const look = calls.find((call) => isBash(call, LOOK))
  if (look === undefined) return bash(LOOK, { text: 'I will look at what is here first.' })
  const [directory = '', ...files] = lines(look.result)
  if (!files.includes(DEMO_BUG.file)) return say(`There is no ${DEMO_BUG.file} here, so I cannot help with this one.`)

  const runs = calls.filter((call) => isBash(call, TEST))
  const [before, after] = runs
  if (before === undefined) return bash(TEST, { text: 'Now the tests, to see the failure with my own eyes.' })
  if (failures(before) === 0) return say('All tests pass already; there is nothing to fix.')

  const read = calls.find((call) => call.name === 'Read')
  const path = `${directory}/${DEMO_BUG.file}`
  if (read === undefined) return use('Read', { file_path: path }, { text: failureReport(before) })
  if (!read.result?.includes(DEMO_BUG.wrong))
    return say('The tests fail, but I do not see why. I leave the code as it is.')

  if (!calls.some((call) => call.name === 'Edit')) return edit(path)
  if (after === undefined) return bash(TEST, { text: 'And the tests again.' })
  return failures(after) === 0
    ? summary()
    : say(`I changed ${DEMO_BUG.file}, but ${failures(after)} test(s) still fail.`)
}

const edit = (path: string): Reply =>
  use(
    'Edit',
    { file_path: path, old_string: DEMO_BUG.wrong, new_string: DEMO_BUG.right },
    {
      thinking: 'The loop assigns the total in each round, so only the last unit counts: 1h30m gives 1800.',
      text: 'Found it: each unit overwrites the total where it should be added.',
    },
  )

const summary = (): Reply =>
  say(
    `Fixed: \`parseDuration\` in ${DEMO_BUG.file} kept only the last unit (\`=\` where \`+=\` was meant), so \`1h30m\` came to 30 minutes. All tests pass now.`,
  )

function failureReport(run: ToolCall): string {
  const names = lines(run.result).flatMap((line) => /^(?:not ok \d+ - |✖ )(.+?)(?: \(.*ms\))?$/.exec(line)?.[1] ?? [])
  const name = names.find((candidate) => !/failing tests|\.js$/.test(candidate))
  return `${failures(run)} test fails${name === undefined ? '' : `: “${name}”`}. The parser is the place to look.`
}

/** Failed tests by the summary of `node --test` (TAP or spec); any other error counts as one. */
function failures(run: ToolCall): number {
  const counted = /^(?:#|ℹ) fail (\d+)$/m.exec(run.result ?? '')?.[1]
  return counted === undefined ? Number(run.isError) : Number(counted)
}

/** A command that ran and failed says its exit code; anything else is a refusal. */
const hasRun = (call: ToolCall) => call.result?.startsWith('Exit code') === true

function isBash(call: ToolCall, command: string): boolean {
  const { input } = call
  return (
    call.name === 'Bash' &&
    typeof input === 'object' &&
    input !== null &&
    'command' in input &&
    input.command === command
  )
}

const lines = (text: string | undefined): string[] => (text ?? '').split('\n').map((line) => line.trim())
const firstSentence = (text: string | undefined): string => lines(text)[0]?.split('. ', 1)[0] ?? ''
