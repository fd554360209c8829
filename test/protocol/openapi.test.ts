import { expect, test } from 'vitest'
import { openApiDocument } from '../../protocol/openapi.ts'
import type { AnyRoute } from '../../protocol/route.ts'
import { routes } from '../../protocol/routes.ts'

interface Operation {
  operationId: string
  parameters: Array<{ name: string; in: string }>
  requestBody?: { content: Record<string, { schema?: { properties?: object; anyOf?: unknown } }> }
  responses: Record<string, unknown>
}
const document = openApiDocument('1.2.3') as { openapi: string; paths: Record<string, Record<string, Operation>> }
const operations = Object.values(document.paths).flatMap((path) => Object.values(path))

test('every route is described once', () => {
  const names = (Object.values(routes) as AnyRoute[]).map((route) => route.name).sort()
  expect(operations.map((operation) => operation.operationId).sort()).toEqual(names)
})

test('every name in a path is a parameter', () => {
  for (const [path, methods] of Object.entries(document.paths))
    for (const operation of Object.values(methods)) {
      const declared = operation.parameters
        .filter((parameter) => parameter.in === 'path')
        .map(({ name }) => `{${name}}`)
      expect(declared).toEqual(path.match(/\{\w+\}/g) ?? [])
    }
})

test('the body of a task is described down to its prompt', () => {
  const create = document.paths['/v1/tasks']?.post
  expect(create?.requestBody?.content['application/json']?.schema?.properties).toHaveProperty('prompt')
})

/** git reads by POST, and a sign of life is only heard. */
const CHANGES_NOTHING = ['gitUploadPack', 'renewLease']

test('a route that changes something has an audit action', () => {
  for (const route of Object.values(routes) as AnyRoute[])
    if (route.method !== 'GET' && !CHANGES_NOTHING.includes(route.name)) expect(route.audit, route.name).toBeDefined()
})
