/**
 * The one place that says yes. Every request of a client, upgrades included, comes through here with the route it
 * matched; a route's declaration says which role it needs, a task belongs to its owner and to those it is shared with, and
 * whatever changes something or opens access leaves its audit row before it happens.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import { TaskId } from '../../protocol/ids.ts'
import { type AnyRoute, type Role, roleAllows, scopeOf } from '../../protocol/route.ts'
import type { Task } from '../../protocol/task.ts'
import type { Store } from '../store/store.ts'
import { authenticate, authenticateHash, type Principal } from './tokens.ts'

export interface AccessRequest {
  route: AnyRoute
  authorization: string | undefined
  /** The `:taskId` of the path, as it came. */
  taskId: string | undefined
  /** Method and path, without the query: it goes into the audit row. */
  target: string
  address: string
  requestId: string
}

export interface Access {
  /** Undefined on a public route. On a route of a task its role is that towards the task, which may be less. */
  principal: Principal | undefined
  /** The task of the path, when it has one. */
  task: Task | undefined
  /** The audit row, when the route leaves one. */
  auditId: number | undefined
}

/** @throws RclaudeError `unauthenticated`, `forbidden` or `not_found` */
export function authorize(store: Store, request: AccessRequest): Access {
  const { route } = request
  if (route.access === 'public') return { principal: undefined, task: undefined, auditId: undefined }
  const { principal, task } = permit(store, route, authenticate(store, request.authorization), request.taskId)
  return { principal, task, auditId: audit(store, request, principal, task) }
}

/**
 * For a preview: the browser shows a session instead of the token, which says by its hash whose it is. Nothing is audited:
 * entering was.
 * @throws RclaudeError as `authorize` does
 */
export function authorizeSession(
  store: Store,
  route: AnyRoute,
  tokenHash: string,
  id: TaskId,
): { principal: Principal; task: Task } {
  const { principal, task } = permit(store, route, authenticateHash(store, tokenHash), id)
  if (task === undefined) throw new Error('a preview is of a task')
  return { principal, task }
}

function permit(
  store: Store,
  route: AnyRoute,
  principal: Principal,
  taskId: string | undefined,
): { principal: Principal; task: Task | undefined } {
  if (!roleAllows(principal.role, route.access as Role))
    throw new RclaudeError(
      'forbidden',
      `the token "${principal.tokenName}" is a ${principal.role}'s; this needs a ${route.access}'s`,
    )
  const scope = scopeOf(route)
  if (scope !== undefined && principal.scope !== undefined && !principal.scope.includes(scope))
    throw new RclaudeError(
      'forbidden',
      `the token "${principal.tokenName}" is narrowed to ${principal.scope.join(', ')}; this needs ${scope}`,
    )
  if (!route.path.includes(':taskId')) return { principal, task: undefined }
  const { task, role } = admitToTask(store, route, principal, taskId)
  return { principal: { ...principal, role }, task }
}

function audit(store: Store, request: AccessRequest, principal: Principal, task: Task | undefined) {
  const action = request.route.audit
  if (action === undefined) return undefined
  return store.insertAudit({
    at: new Date().toISOString(),
    user: principal.user,
    tokenId: principal.tokenId,
    address: request.address,
    action,
    requestId: request.requestId,
    detail: request.target.slice(0, MAX_AUDIT_DETAIL),
    ...(task && { taskId: task.id }),
  })
}

const MAX_AUDIT_DETAIL = 500

/** Another's task is as absent as one that never was; one that is shared may be more than the share allows. */
function admitToTask(store: Store, route: AnyRoute, principal: Principal, id: string | undefined) {
  const taskId = TaskId.safeParse(id)
  const task = taskId.success ? store.getTask(taskId.data) : undefined
  if (taskId.success && task === undefined) mustNotBeBuried(store, principal, taskId.data)
  const role = task && roleOn(store, principal, task)
  if (task === undefined || role === undefined)
    throw new RclaudeError('not_found', `there is no task ${String(id).slice(0, 60)}`)
  if (route.ownerOnly && !owns(principal, task))
    throw new RclaudeError('forbidden', `task ${task.id} is ${task.owner}'s: this is not for those it is shared with`)
  if (!roleAllows(role, route.access as Role))
    throw new RclaudeError('forbidden', `task ${task.id} is shared with you to read; ask ${task.owner} for more`)
  return { task, role }
}

/** Whoever could see a task is told that it was deleted to make room. @throws RclaudeError `gone` */
function mustNotBeBuried(store: Store, principal: Principal, taskId: TaskId): void {
  const tombstone = store.tombstone(taskId)
  if (tombstone === undefined || (principal.role !== 'admin' && tombstone.owner !== principal.user)) return
  const { at, by } = tombstone
  throw new RclaudeError('gone', `task ${taskId} was deleted at ${at} with all it left (${by})`)
}

/** What this user may be towards this task; a share never gives more than the token's own role. */
function roleOn(store: Store, principal: Principal, task: Task): Role | undefined {
  if (owns(principal, task)) return principal.role
  const share = store.getShare(task.id, principal.user)
  return share === 'read' ? 'viewer' : share && principal.role
}

const owns = (principal: Principal, task: Task): boolean => principal.role === 'admin' || task.owner === principal.user
