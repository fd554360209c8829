/** What handlers receive: parsed values only. */
import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { AnyRoute, BodyOf, QueryOf } from '../../protocol/route.ts'
import type { Routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import type { AcceptedSessions } from '../../tunnel/accept-session.ts'
import type { Principal } from '../auth/tokens.ts'
import type { Hold } from '../hold.ts'
import type { Metrics } from '../metrics.ts'
import type { Reserve } from '../reserve.ts'
import type { Store } from '../store/store.ts'
import type { ConnectionContext } from '../tasks/connection.ts'
import type { Leases } from '../tasks/leases.ts'
import type { DialLimit } from '../tunnels/dial-limit.ts'
import type { AddressOf } from './client-address.ts'
import type { Connections } from './connections.ts'
import type { PortCount } from './port-count.ts'
import type { Previews } from './previews/previews.ts'

export interface Bindings {
  Bindings: HttpBindings
  Variables: { requestId: string }
}

export interface Deps extends ConnectionContext {
  store: Store
  connections: Connections
  reserve: Reserve
  dialLimit: DialLimit
  portCount: PortCount
  previews: Previews
  /** Tunnels that go on when their connection is lost. */
  sessions: AcceptedSessions
  metrics: Metrics
  /** The caller's address, as the audit row shows it. */
  addressOf: AddressOf
  /** Of tasks that are stopped when their client is gone. */
  leases(): Pick<Leases, 'renew' | 'release'>
  version: string
  /** The file with the first administrator's token follows it when that is rotated. */
  keepAdminToken(oldHash: string, secret: string): void
  hold: Hold
  /** False while the gateway starts or stops. */
  isReady(): boolean
}

export interface Call<R extends AnyRoute> {
  c: Context<Bindings>
  deps: Deps
  query: QueryOf<R>
  body: BodyOf<R>
  /** Undefined on public routes. */
  principal: Principal | undefined
  task: Task | undefined
  requestId: string
  auditId: number | undefined
}

export type Handler<R extends AnyRoute> = (call: Call<R>) => Response | Promise<Response>

/** For handlers of routes with a `:taskId`, whose task `authorize()` has found. */
export function taskOf(call: { task: Task | undefined }): Task {
  if (call.task === undefined) throw new Error('a route without :taskId has no task')
  return call.task
}

/** For handlers of routes that are not public. */
export function principalOf(call: { principal: Principal | undefined }): Principal {
  if (call.principal === undefined) throw new Error('a public route has no principal')
  return call.principal
}

/** Routes that the gateway answers itself; the others are forwarded to the task's agent. */
type OwnRoutes = { [Name in keyof Routes as Routes[Name] extends { forward: string } ? never : Name]: Routes[Name] }
export type Handlers = { [Name in keyof OwnRoutes]: Handler<OwnRoutes[Name]> }
