/**
 * What a route is. One declaration gives the gateway its validation and its access rule, clients their types, and
 * `/openapi.json` its text. A route that is not declared does not exist, so nothing is open by accident.
 */
import type { z } from 'zod'

export const ROLES = ['viewer', 'member', 'admin'] as const
export type Role = (typeof ROLES)[number]

/** True when `role` may do what `needed` may. */
export const roleAllows = (role: Role, needed: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(needed)

/**
 * What a token may be narrowed to, whatever its role allows: reading tasks and what they left; making, stopping and changing
 * them; what reaches into a running task (exec, files, ports); what is an administrator's.
 */
export const SCOPES = ['tasks:read', 'tasks:write', 'access', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

type Schema = z.ZodType
type Fields = z.ZodObject

export interface Route<
  Query extends Fields = Fields,
  Body extends Schema = Schema,
  Response extends Schema = Schema,
  Path extends string = string,
> {
  name: string
  method: Method
  /** Hono syntax: `:name` is one segment, a closing `*` the rest. `:taskId` makes it a route of one task. */
  path: Path
  /** Lowest role that may call it; `public` needs no token. */
  access: Role | 'public'
  /** Scope that a narrowed token needs; `scopeOf` says which when none is declared. `any` serves every token. */
  scope?: Scope | 'any'
  /** Of a task: for its owner and administrators, not for those it is shared with. */
  ownerOnly?: true
  /** Set on all that changes something or opens access: the action in the audit row. */
  audit?: string
  summary: string
  query?: Query
  /** A JSON body. */
  body?: Body
  /** Content types of a body that is not JSON; it is streamed. */
  rawBody?: readonly string[]
  /** A JSON answer. */
  response?: Response
  /** Content types of an answer that is streamed. */
  rawResponse?: readonly string[]
  /** Status of success; 200 unless said. */
  status?: number
  /** Forwarded to the task's agent, from this path on: `/files` for `/v1/tasks/:taskId/files/*`. */
  forward?: string
  /** A WebSocket. */
  upgrade?: true
}

/** Keeps the exact types of what was declared. */
export const defineRoute = <
  const Path extends string,
  Query extends Fields = z.ZodObject<Record<never, never>>,
  Body extends Schema = z.ZodUndefined,
  Response extends Schema = z.ZodUndefined,
>(
  route: Route<Query, Body, Response, Path>,
): Route<Query, Body, Response, Path> => route

/** The same for a route that the task's agent answers. */
export const defineForward = <const Path extends string>(
  route: Route<z.ZodObject<Record<never, never>>, z.ZodUndefined, z.ZodUndefined, Path> & { forward: string },
): typeof route => route

/** Undefined when every token will do. Derived, so that a new route is never open to a narrowed token by oversight. */
export function scopeOf(route: Pick<AnyRoute, 'access' | 'forward' | 'method' | 'scope'>): Scope | undefined {
  if (route.access === 'public' || route.scope === 'any') return undefined
  if (route.scope !== undefined) return route.scope
  if (route.access === 'admin') return 'admin'
  if (route.forward !== undefined) return 'access'
  return route.method === 'GET' ? 'tasks:read' : 'tasks:write'
}

/** Names in a path: `'/v1/tasks/:taskId/artifacts/:name'` gives `'taskId' | 'name'`. */
export type ParamNames<Path extends string> = Path extends `${infer Head}/${infer Tail}`
  ? ParamNames<Head> | ParamNames<Tail>
  : Path extends `:${infer Name}`
    ? Name
    : never

// biome-ignore lint/suspicious/noExplicitAny: any route, whatever its types; `unknown` would not match by variance
export type AnyRoute = Route<any, any, any, any>
export type QueryInput<R> = R extends Route<infer Q, Schema, Schema> ? z.input<Q> : never
export type QueryOf<R> = R extends Route<infer Q, Schema, Schema> ? z.output<Q> : never
export type BodyInput<R> = R extends Route<Fields, infer B, Schema> ? z.input<B> : never
export type BodyOf<R> = R extends Route<Fields, infer B, Schema> ? z.output<B> : never
export type ResponseOf<R> = R extends Route<Fields, Schema, infer A> ? z.output<A> : never
