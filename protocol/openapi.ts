/** The route table as an OpenAPI 3.1 document. */
import { z } from 'zod'
import { Problem } from './errors.ts'
import { type AnyRoute, scopeOf } from './route.ts'
import { routes } from './routes.ts'

type Json = Record<string, unknown>

/** @param version release of the gateway */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {}
  for (const route of Object.values(routes) as AnyRoute[]) {
    const path = route.path.replace(/:(\w+)/g, '{$1}').replace(/\*$/, '{rest}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, path) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Remote Claude gateway', version, license: { name: 'MIT' } },
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: schemaOf(Problem, 'output') },
    },
    security: [{ token: [] }],
    paths,
  }
}

function operation(route: AnyRoute, path: string): Json {
  return {
    operationId: route.name,
    summary: route.summary,
    ...(route.access === 'public' ? { security: [] } : { 'x-rclaude-role': route.access }),
    ...(scopeOf(route) && { 'x-rclaude-scope': scopeOf(route) }),
    parameters: [...pathParameters(path), ...queryParameters(route)],
    ...requestBody(route),
    responses: { ...success(route), default: problem },
  }
}

const problem = {
  description: 'What went wrong (RFC 9457)',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
}

function pathParameters(path: string): Json[] {
  return Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParameters(route: AnyRoute): Json[] {
  if (route.query === undefined) return []
  const schema = schemaOf(route.query, 'input') as { properties?: Record<string, Json>; required?: string[] }
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    in: 'query',
    required: schema.required?.includes(name) ?? false,
    schema: property,
  }))
}

function requestBody(route: AnyRoute): Json {
  if (route.body !== undefined)
    return {
      requestBody: { required: true, content: { 'application/json': { schema: schemaOf(route.body, 'input') } } },
    }
  if (route.rawBody === undefined) return {}
  return { requestBody: { content: Object.fromEntries(route.rawBody.map((type: string) => [type, {}])) } }
}

function success(route: AnyRoute): Json {
  if (route.upgrade) return { 101: { description: 'Switching to a WebSocket' } }
  const types = route.rawResponse ?? (route.response === undefined ? [] : ['application/json'])
  const schema = route.response === undefined ? {} : { schema: schemaOf(route.response, 'output') }
  return {
    [route.status ?? 200]: {
      description: 'Success',
      ...(types.length > 0 && { content: Object.fromEntries(types.map((type: string) => [type, schema])) }),
    },
  }
}

const schemaOf = (schema: z.ZodType, io: 'input' | 'output'): Json =>
  z.toJSONSchema(schema, { io, unrepresentable: 'any', target: 'draft-2020-12' }) as Json
