/**
 * An ECS for tests: it speaks ECS's own protocol (awsJson 1.1) to the real SDK, holds every request and every answer against the
 * schemas that the SDK ships (`shapes.ts`), applies the rules that stand only in prose (`rules.ts`), and runs real processes for
 * tasks (`task.ts`, `container.ts`). What goes wrong is said by `faults`. It proves how we deal with ECS, not ECS.
 *
 *     const ecs = await startEcs({ images: { 'rclaude-agent:test': ... } })
 *     new ECSClient({ endpoint: ecs.url, region: 'eu-central-1', credentials: ecs.credentials })
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Image } from './container.ts'
import { EcsError } from './errors.ts'
import { errorOf, type Fault, Faults } from './faults.ts'
import { Operations } from './operations.ts'
import { problemsOf } from './shapes.ts'
import type { EcsTask } from './task.ts'

const TARGET = /^AmazonEC2ContainerServiceV20141113\.(\w+)$/

export interface EcsOptions {
  images?: Record<string, Image>
  clusters?: string[]
  /** So many milliseconds are one second of ECS's own delays and time-outs (stopTimeout, steps). */
  secondMs?: number
  now?: () => number
}

export interface Ecs {
  url: string
  credentials: { accessKeyId: string; secretAccessKey: string }
  faults: Faults
  /** Oldest first, stopped ones too. */
  tasks(): EcsTask[]
  /** Every call, with what was asked. */
  calls: Array<{ operation: string; input: Record<string, unknown> }>
  /** Requests and answers that the SDK's schemas do not allow. */
  problems: string[]
  operations: Operations
  /** Two minutes' warning (of the endpoint's seconds), then the end. */
  interruptSpot(arn: string): void
  close(): Promise<void>
}

export async function startEcs(options: EcsOptions = {}): Promise<Ecs> {
  const { images = {}, clusters = ['rclaude'], secondMs = 20, now = Date.now } = options
  const faults = new Faults()
  const calls: Ecs['calls'] = []
  const problems: string[] = []
  let url = ''
  const world = { now, secondMs, image: (name: string) => images[name], metadataUrl: (id: string) => `${url}/v4/${id}` }
  const operations = new Operations(world, clusters)

  const server = createServer((request, response) => {
    if (request.method === 'GET') return serveMetadata(request, response)
    serve(request, response).catch((error: unknown) => {
      problems.push(`the endpoint failed: ${error instanceof Error ? error.stack : String(error)}`)
      response.destroy()
    })
  })

  /** task-metadata-endpoint-v4.html: what a task may know of itself. */
  function serveMetadata(request: IncomingMessage, response: ServerResponse): void {
    const id = /^\/v4\/([0-9a-f]+)\/task$/.exec(request.url ?? '')?.[1]
    const task = [...operations.tasks.values()].find((one) => one.id === id)
    if (task === undefined) return void response.writeHead(404).end()
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ TaskARN: task.arn, Cluster: task.options.cluster, Family: task.options.definition.family }))
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const operation = TARGET.exec(String(request.headers['x-amz-target']))?.[1] ?? ''
    const input = JSON.parse((await textOf(request)) || '{}') as Record<string, unknown>
    calls.push({ operation, input })
    const fault = faults.take(operation)
    if (fault?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms))
    if (fault?.kind === 'meanwhile' && fault.when === 'before') await fault.happens()
    if (fault?.kind === 'reset-before') return void request.socket.resetAndDestroy()
    const answer = answerTo(operation, input, fault, request)
    if (fault?.kind === 'meanwhile' && fault.when === 'after') await fault.happens()
    if (fault?.kind === 'reset-after') return void request.socket.resetAndDestroy()
    const isError = answer instanceof EcsError
    if (!isError) problems.push(...problemsOf(operation, 'output', answer))
    response
      .writeHead(isError ? answer.status : 200, {
        'content-type': 'application/x-amz-json-1.1',
        'x-amzn-requestid': 'test',
      })
      .end(JSON.stringify(isError ? answer.body : answer))
  }

  function answerTo(
    operation: string,
    input: Record<string, unknown>,
    fault: Fault | undefined,
    request: IncomingMessage,
  ) {
    try {
      if (!/^AWS4-HMAC-SHA256 Credential=/.test(request.headers.authorization ?? ''))
        throw new EcsError('MissingAuthenticationTokenException', 'Missing Authentication Token')
      const error = errorOf(fault, operation)
      if (error !== undefined) throw error
      const wrong = problemsOf(operation, 'input', input)
      problems.push(...wrong)
      if (wrong.length > 0) throw new EcsError('SerializationException', wrong.join('; '))
      const answer = operations.run(operation, input, fault)
      if (answer === undefined) throw new EcsError('UnknownOperationException', `the endpoint has no ${operation}`)
      return JSON.parse(JSON.stringify(answer)) as Record<string, unknown>
    } catch (error) {
      if (error instanceof EcsError) return error
      throw error
    }
  }

  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    credentials: { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'of-the-tests' },
    faults,
    tasks: () => [...operations.tasks.values()],
    calls,
    problems,
    operations,
    interruptSpot: (arn) => operations.tasks.get(arn)?.stop('SpotInterruption', 'Your Spot Task was interrupted.'),
    async close() {
      for (const task of operations.tasks.values()) task.stop('UserInitiated', 'the test is over')
      await Promise.all([...operations.tasks.values()].map(({ ended }) => ended))
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) text += chunk
  return text
}
