/**
 * Processes that the agent runs for a task, and the attach WebSocket (`rclaude.process.v1`), which follows the
 * Kubernetes remote-command convention: every message is binary and its first byte names the channel.
 *
 * Output is addressed by byte offset per channel, so a client that lost its connection attaches again with the offsets
 * it has. Standard input is applied exactly once: `started` says how many bytes the agent has accepted, and the client
 * goes on from there.
 */
import { z } from 'zod'
import { ProcessId } from './ids.ts'

export const ATTACH_PROTOCOL = 'rclaude.process.v1'

/** WebSocket close code: another client attached to the same process. */
export const CLOSE_TAKEN_OVER = 4409

export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, control: 3, screen: 4, close: 255 } as const
export type OutputChannel = 'stdout' | 'stderr'

/** Unacknowledged output of a foreground process that is held for a client before the process is paused. */
export const ATTACH_WINDOW_BYTES = 4 * 1024 * 1024
/**
 * The same for a terminal: what is on its way when the user presses Ctrl-C has to arrive before the prompt does, and on a
 * line of 100 KB/s this is half a second of it.
 */
export const TERMINAL_WINDOW_BYTES = 48 * 1024
/** A viewer of a terminal acknowledges after this much, so that the small window is no brake. */
export const TERMINAL_ACK_BYTES = 8 * 1024
/** Unacknowledged standard input that a client keeps for a re-attach. */
export const STDIN_WINDOW_BYTES = 1024 * 1024

/** The bound keeps a screen's memory small: 12 bytes a cell. */
const cells = z.number().int().positive().max(1_000)
export const TerminalSize = z.object({ columns: cells, rows: cells })
export type TerminalSize = z.infer<typeof TerminalSize>

export const TerminalSpec = TerminalSize.extend({
  term: z.string().max(100).default('xterm-256color'),
  colorTerm: z.string().max(100).optional(),
  /** Used where the task's environment has none. */
  lang: z.string().max(100).optional(),
  /** Keep an asciicast of it in the task, whoever looks: GET /processes/P/recording. */
  record: z.boolean().optional(),
})

/** Who writes has a say in the terminal's size: it is as large as the smallest of theirs. */
export const ViewerMode = z.enum(['write', 'read'])
export type ViewerMode = z.infer<typeof ViewerMode>

/** Chosen by a client and kept for its re-attaches: its input is counted by it. */
export const ViewerId = z.string().regex(/^[A-Za-z0-9_-]{8,64}$/)

export const ProcessSpec = z.object({
  /** Exact argv; no shell. */
  argv: z.array(z.string().refine((part) => !part.includes('\0'))).min(1),
  /** Relative to the workspace. */
  cwd: z.string().optional(),
  env: z.record(z.string(), z.string()).default({}),
  /** False: standard input is empty from the start. */
  stdin: z.boolean().default(false),
  /** Output goes to disk and the process does not wait for a reader. */
  detached: z.boolean().default(false),
  /** On a pseudo-terminal: all output is on stdout, and it has standard input in any case. */
  tty: TerminalSpec.optional(),
  timeoutSeconds: z.number().positive().optional(),
  /** Name or uid of the user to run as. Any but the work's own must be allowed by the gateway (`agents.execUsers`). */
  user: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/, 'expected a name or a uid')
    .optional(),
})
export type ProcessSpec = z.infer<typeof ProcessSpec>
export type ProcessSpecInput = z.input<typeof ProcessSpec>

export const ProcessExit = z.object({
  code: z.number().int().nullable(),
  signal: z.string().nullable(),
  /** Why the agent ended it, when it did. */
  reason: z.enum(['timeout', 'stopped']).optional(),
})
export type ProcessExit = z.infer<typeof ProcessExit>

/** `start` is the oldest byte still held, `end` the next to come. */
const Extent = z.object({ start: z.number().int().nonnegative(), end: z.number().int().nonnegative() })

export const ProcessInfo = z.object({
  id: ProcessId,
  argv: z.array(z.string()),
  cwd: z.string(),
  pid: z.number().int().nullable(),
  detached: z.boolean(),
  /** When it was asked for by name. */
  user: z.string().optional(),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().optional(),
  exit: ProcessExit.optional(),
  stdout: Extent,
  stderr: Extent,
  stdinAccepted: z.number().int().nonnegative(),
  /** `idleSeconds`: how long it goes on while nobody is attached; absent when that is for ever. */
  tty: TerminalSize.extend({
    viewers: z.number().int().nonnegative(),
    title: z.string(),
    idleSeconds: z.number().optional(),
    /** Of its recording, when it has one. */
    recordedBytes: z.number().int().nonnegative().optional(),
  }).optional(),
})
export type ProcessInfo = z.infer<typeof ProcessInfo>

/** One-shot: a process, the text it reads, if any, and its whole output as the answer. `stdin: true` leaves it to PUT. */
export const ExecRequest = ProcessSpec.extend({ stdin: z.union([z.boolean(), z.string()]).default(false) })
export type ExecRequest = z.infer<typeof ExecRequest>
export type ExecRequestInput = z.input<typeof ExecRequest>

/** A line of the NDJSON answer of exec. Output is `text` where it is UTF-8, `base64` where it is not. */
export const ExecLine = z.union([
  z.object({ channel: z.enum(['stdout', 'stderr']), offset: z.number(), text: z.string() }),
  z.object({ channel: z.enum(['stdout', 'stderr']), offset: z.number(), base64: z.string() }),
  z.object({ channel: z.enum(['stdout', 'stderr']), gap: z.object({ from: z.number(), to: z.number() }) }),
  /** The last one. `exitCode` is as a shell counts: 128 + n for a signal, 124 for a timeout. */
  z.object({ exit: ProcessExit, exitCode: z.number().int() }),
])
export type ExecLine = z.infer<typeof ExecLine>

/** Control messages from the agent. */
export const ServerControl = z.discriminatedUnion('type', [
  z.object({ type: z.literal('started'), process: ProcessInfo }),
  /** Standard input that the process's pipe has taken, in bytes: a client sends at most STDIN_WINDOW_BYTES beyond it. */
  z.object({ type: z.literal('ack'), stdin: z.number().int().nonnegative() }),
  /** Bytes `from` (inclusive) to `to` (exclusive) of a channel are no longer held. */
  z.object({ type: z.literal('gap'), channel: z.enum(['stdout', 'stderr']), from: z.number(), to: z.number() }),
  /** Sent after the last byte of both channels. */
  z.object({ type: z.literal('exit'), exit: ProcessExit, stdout: z.number(), stderr: z.number() }),
  /**
   * Of a terminal: the next message on the channel `screen` draws all of it on a terminal in any state, and output goes on at
   * `offset`. It comes first when it was asked for, and instead of what is lost, or too much to send.
   */
  z.object({ type: z.literal('screen'), offset: z.number().int().nonnegative(), ...TerminalSize.shape }),
  /** The terminal has another size. */
  z.object({ type: z.literal('size'), ...TerminalSize.shape }),
  z.object({ type: z.literal('error'), code: z.string(), message: z.string() }),
])
export type ServerControl = z.infer<typeof ServerControl>

export const SignalName = z.string().regex(/^SIG[A-Z0-9]{1,10}$/, 'expected a name like SIGTERM')

/** Control messages from the client. */
export const ClientControl = z.discriminatedUnion('type', [
  /** Output consumed so far, in bytes per channel. */
  z.object({
    type: z.literal('ack'),
    stdout: z.number().int().nonnegative(),
    stderr: z.number().int().nonnegative(),
  }),
  z.object({ type: z.literal('signal'), signal: SignalName }),
  /** The size of this client's terminal. */
  z.object({ type: z.literal('resize'), ...TerminalSize.shape }),
])
export type ClientControl = z.infer<typeof ClientControl>

/** 128 + n for a signal, as a shell counts. */
export function exitCodeOfProcess(exit: ProcessExit, signals: Record<string, number>): number {
  if (exit.reason === 'timeout') return 124
  if (exit.code !== null) return exit.code
  return 128 + (signals[exit.signal ?? ''] ?? 0)
}
