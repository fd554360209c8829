/** Tasks themselves: create, look, stop, go on. */
import { z } from 'zod'
import { RepoToken } from '../clone.ts'
import { TaskHealth } from '../health.ts'
import { TaskId } from '../ids.ts'
import { Outcome } from '../outcome.ts'
import { defineRoute } from '../route.ts'
import { CreateTask, MAX_PROMPT, Secrets, STATES, Task } from '../task.ts'
import { UserName } from './access.ts'
import { flag, MAX_PAGE, page } from './page.ts'

/** Only for a task whose clone was made with one and never came to the gateway. */
const repoToken = RepoToken.optional()

export const taskRoutes = {
  createTask: defineRoute({
    name: 'createTask',
    method: 'POST',
    path: '/v1/tasks',
    access: 'member',
    audit: 'task.create',
    summary: 'Create a task. With an Idempotency-Key header a repeated request answers with the same task.',
    body: CreateTask,
    response: Task,
    status: 201,
  }),
  listTasks: defineRoute({
    name: 'listTasks',
    method: 'GET',
    path: '/v1/tasks',
    access: 'viewer',
    summary: 'Tasks, newest first.',
    query: z.object({
      ...page,
      state: z.enum([...STATES, 'active']).optional(),
      /** `name` or `name=value`. */
      label: z.string().max(320).optional(),
      owner: UserName.optional(),
      /** Instead of one's own: those that others have shared with the caller. */
      shared: flag,
    }),
    response: z.object({ tasks: z.array(Task), nextCursor: z.string().optional() }),
  }),
  getTask: defineRoute({
    name: 'getTask',
    method: 'GET',
    path: '/v1/tasks/:taskId',
    access: 'viewer',
    summary: 'One task.',
    response: Task,
  }),
  taskHealth: defineRoute({
    name: 'taskHealth',
    method: 'GET',
    path: '/v1/tasks/:taskId/health',
    access: 'member',
    scope: 'access',
    summary: 'How the machine of a running task is doing: CPU, memory, disks, processes, tunnel, what is behind.',
    response: TaskHealth,
  }),
  stopTask: defineRoute({
    name: 'stopTask',
    method: 'POST',
    path: '/v1/tasks/:taskId/stop',
    access: 'member',
    audit: 'task.stop',
    summary: 'Stop a task; what it had done is saved. Stopping an ended task changes nothing.',
    body: z.object({ reason: z.string().max(500).default('stopped by the user') }),
    response: Task,
    status: 202,
  }),
  deleteTask: defineRoute({
    name: 'deleteTask',
    method: 'DELETE',
    path: '/v1/tasks/:taskId',
    access: 'member',
    ownerOnly: true,
    audit: 'task.delete',
    summary: 'Delete an ended task with all it left: events, workspace, artifacts.',
    status: 204,
  }),
  pruneTasks: defineRoute({
    name: 'pruneTasks',
    method: 'POST',
    path: '/v1/prune',
    access: 'member',
    audit: 'task.prune',
    summary:
      'Delete ended tasks, or only their workspaces and artifacts, those that ended first first. Own ones; all users’ for an administrator who says so.',
    body: z.object({
      /** Only those that ended before. */
      endedBefore: z.iso.datetime().optional(),
      outcome: Outcome.optional(),
      /** Workspaces and artifacts go; events and transcript stay. */
      workspacesOnly: z.boolean().default(false),
      /** Say what would go, and delete nothing. */
      dryRun: z.boolean().default(false),
      allUsers: z.boolean().default(false),
      limit: z.number().int().min(1).max(MAX_PAGE).default(100),
      cursor: z.string().max(200).optional(),
    }),
    response: z.object({
      tasks: z.array(
        z.object({
          id: TaskId,
          owner: z.string(),
          endedAt: z.iso.datetime(),
          outcome: z.string(),
          bytes: z.number().int().nonnegative(),
        }),
      ),
      /** Freed, or to be freed. */
      bytes: z.number().int().nonnegative(),
      nextCursor: z.string().optional(),
    }),
  }),
  retryTask: defineRoute({
    name: 'retryTask',
    method: 'POST',
    path: '/v1/tasks/:taskId/retry',
    access: 'member',
    audit: 'task.retry',
    summary: 'Start the same work again from the same snapshot, as a new task.',
    body: z.object({ secrets: Secrets.default({}), repoToken }),
    response: Task,
    status: 201,
  }),
  continueTask: defineRoute({
    name: 'continueTask',
    method: 'POST',
    path: '/v1/tasks/:taskId/turns',
    access: 'member',
    audit: 'task.continue',
    summary: 'Give the task another prompt; it goes on from its files and its conversation.',
    body: z.object({
      prompt: z.string().min(1).max(MAX_PROMPT),
      secrets: Secrets.default({}),
      repoToken,
    }),
    response: Task,
    status: 202,
  }),
  renewLease: defineRoute({
    name: 'renewLease',
    method: 'POST',
    path: '/v1/tasks/:taskId/lease',
    access: 'member',
    summary: 'Say that the client of a task with `onDisconnect` is still there. Renew it a few times within the grace.',
    status: 204,
  }),
  releaseLease: defineRoute({
    name: 'releaseLease',
    method: 'DELETE',
    path: '/v1/tasks/:taskId/lease',
    access: 'member',
    audit: 'task.detach',
    summary: 'Leave on purpose: the task goes on without its client, whatever `onDisconnect` said.',
    status: 204,
  }),
} as const
