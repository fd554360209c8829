/**
 * Git's smart HTTP (https://git-scm.com/docs/http-protocol) on Node's request and response, for one repository and for
 * what the caller may do with it. Authentication and routing have happened; `allow` is their outcome.
 *
 *   GET  info/refs?service=...  -> the service's advertisement
 *   POST git-upload-pack        -> fetch
 *   POST git-receive-pack       -> push: the commands are read and judged before git is started
 *
 * Bodies may be gzipped and chunked. The child dies with the client's connection and at the deadline.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline, type Readable } from 'node:stream'
import { pipeline as pipelined } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { RclaudeError } from '../../protocol/errors.ts'
import { formatSeconds } from '../../protocol/units.ts'
import { type RunningGit, startGit } from './git.ts'
import {
  packet,
  parseReceiveCommands,
  type ReceiveCommands,
  type RefCommand,
  refuseCommands,
  rejection,
} from './receive-commands.ts'
import { readRefs } from './repository.ts'

export const GIT_PATHS = ['info/refs', 'git-upload-pack', 'git-receive-pack'] as const
export type GitPath = (typeof GIT_PATHS)[number]

/** A longer timer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1
/** A refused push is read to this size so that the client hears the reason; beyond it the connection is cut. */
const MAX_DRAIN_BYTES = 64 * 1024 ** 2

export interface ServeGit {
  repository: string
  request: IncomingMessage
  response: ServerResponse
  path: GitPath
  /** `service` of the query, for `info/refs`. */
  service?: string | undefined
  allow: { read: boolean; writeRefs: readonly string[] }
  /** Runs after the refs changed and before the client hears the end; when it throws, the client sees a failed push. */
  beforeEnd?: (updated: readonly RefCommand[]) => Promise<void>
  /** Why it ended badly, for the log: git's stderr, or the deadline. */
  onComplaint?: (text: string) => void
  /** A transfer that takes longer is given up. */
  deadlineSeconds: number
  signal?: AbortSignal
}

/** Resolves when the answer is out. @throws {RclaudeError} when nothing was answered yet and the caller should */
export async function serveGit(options: ServeGit): Promise<{ updated: RefCommand[] }> {
  const gone = new AbortController()
  options.response.once('close', () => gone.abort())
  const signal = options.signal === undefined ? gone.signal : AbortSignal.any([gone.signal, options.signal])
  const timer = setTimeout(() => giveUp(options), Math.min(options.deadlineSeconds * 1000, MAX_TIMER_MS))
  options.response.setHeader('cache-control', 'no-cache, max-age=0, must-revalidate')
  try {
    if (options.path === 'info/refs') await advertise(options, signal)
    else if (options.path === 'git-upload-pack') await uploadPack(options, signal)
    else return { updated: await receivePack(options, signal) }
    return { updated: [] }
  } finally {
    clearTimeout(timer)
  }
}

/** The client sees its connection cut, which ends git as well. */
function giveUp({ path, deadlineSeconds, request, response, onComplaint }: ServeGit): void {
  onComplaint?.(`${path} took longer than ${formatSeconds(deadlineSeconds)} (deadlines.transfer) and was cut off`)
  response.destroy()
  request.destroy()
}

async function advertise(options: ServeGit, signal: AbortSignal): Promise<void> {
  if (options.request.method !== 'GET') throw new RclaudeError('invalid', 'info/refs takes GET')
  const { service } = options
  if (service !== 'git-upload-pack' && service !== 'git-receive-pack')
    throw new RclaudeError(
      'invalid',
      'info/refs needs ?service=git-upload-pack or git-receive-pack; plain HTTP clones are not served',
    )
  if (service === 'git-upload-pack') requireRead(options)
  else if (options.allow.writeRefs.length === 0)
    throw new RclaudeError(
      'forbidden',
      'nothing may be pushed here: the workspace is sealed, or the token may only read',
    )
  const env: Record<string, string> = service === 'git-upload-pack' ? protocolOf(options.request) : {}
  const running = startGit([service.slice(4), '--stateless-rpc', '--advertise-refs', options.repository], {
    repository: options.repository,
    env,
    signal,
  })
  running.child.stdin.end()
  options.response.writeHead(200, { 'content-type': `application/x-${service}-advertisement` })
  options.response.write(Buffer.concat([packet(Buffer.from(`# service=${service}\n`)), Buffer.from('0000')]))
  await answer(running, options)
}

async function uploadPack(options: ServeGit, signal: AbortSignal): Promise<void> {
  requireRead(options)
  const body = openBody(options, 'git-upload-pack')
  const running = startGit(['upload-pack', '--stateless-rpc', options.repository], {
    repository: options.repository,
    env: protocolOf(options.request),
    signal,
  })
  pipeline(body, running.child.stdin, () => {})
  options.response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result' })
  await answer(running, options)
}

async function receivePack(options: ServeGit, signal: AbortSignal): Promise<RefCommand[]> {
  const body = openBody(options, 'git-receive-pack')
  const { commands, head } = await readCommands(body)
  const refused = refuseCommands(commands.commands, options.allow.writeRefs)
  options.response.setHeader('content-type', 'application/x-git-receive-pack-result')
  if (refused !== undefined) {
    await drain(body, options)
    options.response.end(rejection(commands, refused))
    return []
  }
  const running = startGit(['receive-pack', '--stateless-rpc', options.repository], {
    repository: options.repository,
    signal,
  })
  running.child.stdin.write(head)
  pipeline(body, running.child.stdin, () => {})
  options.response.writeHead(200)
  let updated: RefCommand[] = []
  await answer(running, options, async () => {
    const refs = await readRefs(options.repository)
    updated = commands.commands.filter((command) => refs.get(command.ref) === command.new)
    await options.beforeEnd?.(updated)
  })
  return updated
}

/** Passes git's output on, and ends the response only if all went well: a cut answer is how HTTP says otherwise. */
async function answer(
  running: RunningGit,
  { response, onComplaint }: ServeGit,
  beforeEnd?: () => Promise<void>,
): Promise<void> {
  try {
    await pipelined(running.child.stdout, response, { end: false })
    const code = await running.exited
    // Git has told the client of refused refs and unknown objects itself; here it is only noted.
    if (code !== 0) onComplaint?.(`git ended with ${code}: ${running.stderr().trim()}`)
    await beforeEnd?.()
    response.end()
  } catch (error) {
    running.kill()
    await running.exited.catch(() => {})
    response.destroy()
    throw error
  }
}

function openBody({ request }: ServeGit, service: string): Readable {
  if (request.method !== 'POST') throw new RclaudeError('invalid', `${service} takes POST`)
  const type = `application/x-${service}-request`
  if (request.headers['content-type'] !== type) throw new RclaudeError('unsupported', `${service} takes ${type}`)
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return request
  if (encoding !== 'gzip' && encoding !== 'x-gzip')
    throw new RclaudeError('unsupported', `content-encoding ${encoding} is not known`)
  const gunzip = createGunzip()
  pipeline(request, gunzip, () => {}) // errors surface on the reading side
  return gunzip
}

/** Reads up to the flush packet; `head` is all that was read, the rest stays in the body. */
async function readCommands(body: Readable): Promise<{ commands: ReceiveCommands; head: Buffer }> {
  let head = Buffer.alloc(0)
  for (;;) {
    const chunk = await nextChunk(body)
    if (chunk === undefined) throw new RclaudeError('invalid', 'the body is not a git push: it ends early')
    head = Buffer.concat([head, chunk])
    const commands = parseReceiveCommands(head)
    if (commands !== undefined) return { commands, head }
  }
}

function nextChunk(body: Readable): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (action: () => void) => {
      body.off('readable', look).off('end', ended).off('error', failed).off('close', ended)
      action()
    }
    const look = () => {
      const chunk: unknown = body.read()
      if (chunk instanceof Buffer) settle(() => resolve(chunk))
    }
    const ended = () => settle(() => resolve(undefined))
    const failed = (error: Error) =>
      settle(() => reject(new RclaudeError('invalid', 'the body of the push cannot be read', { cause: error })))
    body.on('readable', look).on('end', ended).on('error', failed).on('close', ended)
    if (body.readableEnded || body.destroyed) ended()
    else look()
  })
}

async function drain(body: Readable, { request }: ServeGit): Promise<void> {
  let bytes = 0
  for await (const chunk of body) {
    bytes += (chunk as Buffer).length
    if (bytes > MAX_DRAIN_BYTES) {
      request.destroy()
      return
    }
  }
}

function requireRead({ allow }: ServeGit): void {
  if (!allow.read) throw new RclaudeError('forbidden', 'this workspace may not be read')
}

/** Protocol version 2, when the client asks for it. */
function protocolOf(request: IncomingMessage): Record<string, string> {
  const asked = request.headers['git-protocol']
  return typeof asked === 'string' && /^version=[012]$/.test(asked) ? { GIT_PROTOCOL: asked } : {}
}
