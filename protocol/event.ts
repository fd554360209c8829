/**
 * Events: the log of a task. The agent numbers what it says (`agentSeq`, per placement); the gateway stores it, gives it
 * the task's own `seq` and publishes it only after the commit. What a coding agent says is carried as `session_update`,
 * in the vocabulary of the Agent Client Protocol's `session/update` notification.
 */
import { z } from 'zod'
import { CheckVerdict, Outcome, Reason } from './outcome.ts'
import { readAnswer } from './unknown-words.ts'

/** ACP `SessionUpdate`: tagged by `sessionUpdate`; members we do not know are carried through untouched. */
export const SessionUpdate = z.looseObject({ sessionUpdate: z.string() })
export type SessionUpdate = z.infer<typeof SessionUpdate>

export const Usage = z.object({
  inputTokens: z.number().nonnegative(),
  outputTokens: z.number().nonnegative(),
  cacheReadTokens: z.number().nonnegative(),
  cacheWriteTokens: z.number().nonnegative(),
  costUsd: z.number().nonnegative(),
  /** Model turns, as the coding agent counts them. */
  turns: z.number().int().nonnegative(),
})
export type Usage = z.infer<typeof Usage>
export const NO_USAGE: Usage = {
  inputTokens: 0,
  outputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  costUsd: 0,
  turns: 0,
}

export const addUsage = (a: Usage, b: Usage): Usage => ({
  inputTokens: a.inputTokens + b.inputTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  cacheReadTokens: a.cacheReadTokens + b.cacheReadTokens,
  cacheWriteTokens: a.cacheWriteTokens + b.cacheWriteTokens,
  costUsd: a.costUsd + b.costUsd,
  turns: a.turns + b.turns,
})

export const Check = z.object({
  verdict: CheckVerdict,
  exitCode: z.number().int().nullable().optional(),
  durationMs: z.number().nonnegative().optional(),
})
export type Check = z.infer<typeof Check>

/** A changed file that holds a secret of the task: it is left as the snapshot has it, or out when that has none. */
export const Withheld = z.object({
  path: z.string(),
  /** Absent when its name holds it. */
  line: z.number().int().positive().optional(),
  /** Name of the secret. */
  secret: z.string(),
})
export type Withheld = z.infer<typeof Withheld>
/** Of more files than this it is only said that there are more. */
export const MAX_WITHHELD_TOLD = 100

/** What one turn came to, as the agent says it. */
export const RunResult = z.object({
  outcome: Outcome,
  reason: Reason,
  /** One sentence for people. */
  message: z.string(),
  check: Check,
  usage: Usage,
  /** The model was at work, and nothing says what that cost: it counts as what the turn was given. */
  costUnknown: z.boolean().optional(),
  durationMs: z.number().nonnegative(),
  /** Files that differ between the snapshot and the result. */
  filesChanged: z.number().int().nonnegative(),
  insertions: z.number().int().nonnegative().optional(),
  deletions: z.number().int().nonnegative().optional(),
  /** The result commit, when there is a workspace and it was saved. */
  commit: z.string().optional(),
  /** The coding agent's own session id, with which `continue` resumes it. */
  sessionId: z.string().optional(),
  /** For `command`: its exit code, null when a signal ended it. */
  exitCode: z.number().int().nullable().optional(),
  /** The coding agent's closing words. */
  summary: z.string().optional(),
  /** True when something could not be saved: the message says what. */
  incomplete: z.boolean().optional(),
  /** Files that are not in the commit because they hold a secret. */
  withheld: z.array(Withheld).max(MAX_WITHHELD_TOLD).optional(),
})
export type RunResult = z.infer<typeof RunResult>

export const STEPS = ['launch', 'start', 'workspace', 'setup', 'agent', 'check', 'save', 'stop'] as const
export const Step = z.enum(STEPS)
export type Step = z.infer<typeof Step>

export const EventBody = z.discriminatedUnion('type', [
  /** The task moved to another state (gateway). */
  z.object({
    type: z.literal('state'),
    state: z.string(),
    outcome: Outcome.optional(),
    reason: Reason.optional(),
    message: z.string().optional(),
  }),
  /** A part of the work began or ended. */
  z.object({
    type: z.literal('step'),
    step: Step,
    status: z.enum(['started', 'done', 'failed', 'skipped']),
    message: z.string().optional(),
    durationMs: z.number().nonnegative().optional(),
  }),
  z.object({ type: z.literal('turn_started'), prompt: z.string() }),
  z.object({ type: z.literal('turn_ended'), result: RunResult }),
  z.object({ type: z.literal('session_update'), update: SessionUpdate }),
  /** Output of setup, check or a plain command, as text for people; the exact bytes are in the process's journal. */
  z.object({
    type: z.literal('output'),
    step: Step,
    channel: z.enum(['stdout', 'stderr']),
    text: z.string(),
    processId: z.string().optional(),
  }),
  z.object({ type: z.literal('usage'), usage: Usage }),
  z.object({
    type: z.literal('checkpoint'),
    commit: z.string(),
    filesChanged: z.number().int().nonnegative(),
    /** The coding agent's session that was saved with it. */
    sessionId: z.string().optional(),
  }),
  z.object({ type: z.literal('connection'), online: z.boolean() }),
  z.object({ type: z.literal('warning'), message: z.string() }),
  /** Something was dropped because a quota was reached: said, never silent. */
  z.object({ type: z.literal('gap'), what: z.string(), count: z.number().int().nonnegative() }),
  /** A line of the coding agent that the adapter does not know, untouched. */
  z.object({ type: z.literal('raw'), program: z.string(), line: z.unknown() }),
])
export type EventBody = z.infer<typeof EventBody>
export type EventType = EventBody['type']

const envelope = { at: z.iso.datetime(), turn: z.number().int().positive() }

/** As the agent's event log holds it. */
export const AgentEvent = z.intersection(z.object({ agentSeq: z.number().int().positive(), ...envelope }), EventBody)
export type AgentEvent = z.infer<typeof AgentEvent>

/** As clients read it: `seq` counts 1, 2, 3 ... per task, without holes. */
export const TaskEvent = z.intersection(
  z.object({ seq: z.number().int().positive(), source: z.enum(['gateway', 'agent']), ...envelope }),
  EventBody,
)
export type TaskEvent = z.infer<typeof TaskEvent>

/** Of a kind that is not known here: carried along untouched, as a line of its sender. */
const Unknown = z.looseObject({ type: z.string(), ...envelope })

/** Reads what a newer side may have written: an event of an unknown kind or shape becomes `raw`, so that none is lost. */
export function readTaskEvent(value: unknown): TaskEvent {
  const known = isKnownType(value) ? readAnswer(TaskEvent, value) : undefined
  if (known?.success === true) return known.data
  const { seq, source, at, turn } = Unknown.extend({
    seq: z.number().int().positive(),
    source: z.enum(['gateway', 'agent']),
  }).parse(value)
  return { seq, source, at, turn, type: 'raw', program: source, line: value }
}

/**
 * The same for the gateway, which stores what a newer agent says: a kind or a word that is not known makes it `raw`, which no
 * part of the gateway acts on, and the end of a turn is told in words that are known. What is wrong otherwise is refused.
 */
export function readAgentEvent(value: unknown): AgentEvent | undefined {
  const known = AgentEvent.safeParse(value)
  if (known.success) return known.data
  const worded = isKnownType(value) ? readAnswer(AgentEvent, value) : undefined
  if (worded?.success === false) return undefined
  if (worded?.data.type === 'turn_ended')
    return AgentEvent.safeParse({ ...worded.data, result: inKnownWords(worded.data.result) }).data
  const unknown = Unknown.extend({ agentSeq: z.number().int().positive() }).safeParse(value)
  if (!unknown.success) return undefined
  const { agentSeq, at, turn } = unknown.data
  return { agentSeq, at, turn, type: 'raw', program: 'agent', line: value }
}

/** Nobody can say that an outcome or a verdict is good which is not known. */
function inKnownWords(result: RunResult): RunResult {
  const { outcome, reason, check } = result
  const isKnown = [Outcome.safeParse(outcome), Reason.safeParse(reason), CheckVerdict.safeParse(check.verdict)]
  const words = [outcome, reason, check.verdict].filter((_, at) => isKnown[at]?.success === false)
  return {
    ...result,
    outcome: Outcome.catch('failed').parse(outcome),
    reason: Reason.catch('internal').parse(reason),
    check: { ...check, verdict: CheckVerdict.catch('failed').parse(check.verdict) },
    message: `${result.message} (in words of a newer agent: ${words.join(', ')})`,
  }
}

const isKnownType = (value: unknown): boolean => EVENT_TYPES.has((value as { type?: string } | null)?.type ?? '')
const EVENT_TYPES: ReadonlySet<string> = new Set(EventBody.options.map((option) => option.shape.type.value))
