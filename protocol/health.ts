/** How a running task's machine is doing: what it uses, what it has left, what is behind. Shown by `top` and judged by `doctor TASK`. */
import { z } from 'zod'
import { Connection } from './connection.ts'
import { ProcessId, TaskId } from './ids.ts'
import { STATES } from './task.ts'

const count = z.number().int().nonnegative()
const text = (max: number) => z.string().max(max)

/** Processes that are named; the others are only counted. */
export const MAX_PROCESSES_SHOWN = 50

export const ProcessUse = z.object({
  pid: count,
  /** The kernel's short name of it. */
  name: text(64),
  /** Cores, since the sample before. */
  cpu: z.number().nonnegative(),
  /** Resident. */
  memoryBytes: count,
  threads: count,
  /** When rclaude started it for someone. */
  processId: ProcessId.optional(),
})
export type ProcessUse = z.infer<typeof ProcessUse>

/**
 * `container`: everything in it, against the container's limits. `task`: the task's own processes, against what the machine
 * has, because others use it too.
 */
export const HealthScope = z.enum(['container', 'task'])
export type HealthScope = z.infer<typeof HealthScope>

/** Of one file system. */
export const DiskUse = z.object({
  /** What lies on it: `workspace`, `temporary`, or both. */
  holds: z.array(z.enum(['workspace', 'temporary'])),
  totalBytes: count,
  freeBytes: count,
  /** Absent where the file system does not count them. */
  freeFiles: count.optional(),
})
export type DiskUse = z.infer<typeof DiskUse>

export const AgentHealth = z.object({
  at: z.iso.datetime(),
  scope: HealthScope,
  /** Of the agent. */
  uptimeSeconds: z.number().nonnegative(),
  cpu: z.object({
    /** May be a fraction, as a container's share is. */
    cores: z.number().positive(),
    used: z.number().nonnegative(),
    /** Share of the sampled time in which the container wanted to run and was not let; absent where nobody counts it. */
    throttled: z.number().min(0).max(1).optional(),
  }),
  memory: z.object({
    usedBytes: count,
    limitBytes: count,
    /** Processes that the kernel killed for want of memory since the machine started; absent where nobody counts them. */
    oomKills: count.optional(),
  }),
  processes: z.object({ total: count, limit: count.optional(), top: z.array(ProcessUse).max(MAX_PROCESSES_SHOWN) }),
  disks: z.array(DiskUse).max(4),
  /** Processes that people started. */
  started: z.object({
    running: count,
    /** Output that is held for clients, in memory or on disk. */
    heldBytes: count,
    /** Held back until their client has read more. */
    heldBack: z.array(ProcessId).max(MAX_PROCESSES_SHOWN),
  }),
  /** Events of the task's log that the agent has written. */
  events: count,
  /** Programs that parts of rclaude need in the task, and whether they are there. */
  programs: z.record(text(32), z.boolean()),
})
export type AgentHealth = z.infer<typeof AgentHealth>

export const TaskHealth = z.object({
  taskId: TaskId,
  at: z.iso.datetime(),
  state: z.enum(STATES),
  connection: Connection.optional(),
  agent: AgentHealth.optional(),
  /** Why there is no `agent`, for a task that runs. */
  agentError: z.string().optional(),
  /** Events that the agent has and the gateway has not. */
  eventsBehind: count.optional(),
  gateway: z.object({ version: z.string(), freeBytes: count }),
})
export type TaskHealth = z.infer<typeof TaskHealth>
