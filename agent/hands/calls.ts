/** What the agent asks of its second process beside files: small questions, in JSON. Each has a deadline and a size. */
import { z } from 'zod'

/** Of a fresh stream between the two; both must have the same. The way is short, but pieces are best large. */
export const HANDS_WINDOW_BYTES = 1024 ** 2
/** The most pids that Linux can have (include/linux/threads.h). */
const MAX_PIDS = 4_194_304
const KIB = 1024
/** More files of one folder are not told. */
export const MAX_NAMES = 50_000

const Pid = z.number().int().positive().max(MAX_PIDS)
const Word = z.string().max(200)

export const Mark = z.object({ name: Word, value: Word })
export const SocketOwner = z.object({ inode: z.string().regex(/^\d{1,20}$/), pid: Pid, command: Word })
export type SocketOwner = z.infer<typeof SocketOwner>

/** Of a path that the agent may put behind one of its own: it leads nowhere else. */
const RelativePath = z
  .string()
  .max(4_096)
  .refine((path) => !path.includes('\0') && path.split('/').every((name) => !['', '.', '..'].includes(name)))
const Names = z.object({ names: z.array(RelativePath).max(MAX_NAMES) })

export const CALLS = {
  /** Kills what a child that has ended left running, as far as it is of this user. */
  leftovers: {
    input: z.object({ pid: Pid, mark: Mark, wasShort: z.boolean() }),
    answer: z.object({}),
    timeoutMs: 30_000,
    maxBytes: KIB,
  },
  /** Pids of processes of this user with the mark in their environment. */
  marked: {
    input: Mark,
    answer: z.object({ pids: z.array(Pid).max(100_000) }),
    timeoutMs: 10_000,
    maxBytes: 1_000 * KIB,
  },
  /** Of these sockets, those that a process with the mark has open. */
  socketOwners: {
    input: z.object({ mark: Mark, inodes: z.array(z.string()) }),
    answer: z.object({ owners: z.array(SocketOwner).max(10_000) }),
    timeoutMs: 10_000,
    maxBytes: 4_000 * KIB,
  },
  /** Regular files below a folder, relative to it. */
  filesBelow: {
    input: z.object({ folder: z.string() }),
    answer: Names,
    timeoutMs: 60_000,
    maxBytes: 64_000 * KIB,
  },
  /** Those of a conversation of a coding agent, relative to its home. */
  sessionFiles: {
    input: z.object({ adapter: Word, home: z.string(), cwd: z.string(), sessionId: z.string() }),
    answer: Names,
    timeoutMs: 30_000,
    maxBytes: 64_000 * KIB,
  },
  makeDirectory: {
    input: z.object({ path: z.string(), mode: z.number().int() }),
    answer: z.object({}),
    timeoutMs: 10_000,
    maxBytes: KIB,
  },
  /** Files, links, and folders with all in them. */
  remove: {
    input: z.object({ paths: z.array(z.string()) }),
    answer: z.object({}),
    timeoutMs: 120_000,
    maxBytes: KIB,
  },
  /** Deletes all that is in a folder. */
  empty: {
    input: z.object({ folder: z.string() }),
    answer: z.object({}),
    timeoutMs: 120_000,
    maxBytes: KIB,
  },
  isDirectory: {
    input: z.object({ path: z.string() }),
    answer: z.object({ is: z.boolean() }),
    timeoutMs: 10_000,
    maxBytes: KIB,
  },
  /** See agent/workspace/among.ts. */
  among: {
    input: z.object({ kind: z.enum(['file', 'folder', 'any']), top: z.string(), paths: z.array(z.string()) }),
    answer: z.object({ indexes: z.array(z.number().int().nonnegative()).max(100_000) }),
    timeoutMs: 60_000,
    maxBytes: 1_000 * KIB,
  },
  /** Where a program is, for a child of this user in that folder; or the code of what a spawn would fail with. */
  program: {
    input: z.object({ file: z.string(), cwd: z.string(), path: z.string().optional() }),
    answer: z.object({ program: z.string().max(8_192).optional(), code: z.string().max(32).optional() }),
    timeoutMs: 10_000,
    maxBytes: 16 * KIB,
  },
} as const
export type CallName = keyof typeof CALLS
