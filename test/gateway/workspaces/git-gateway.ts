/** For tests: a gateway's git routes on loopback, and folders and repositories that are removed afterwards. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import type { GatewayRemote } from '../../../cli/workspace/remote.ts'
import { GIT_PATHS, serveGit } from '../../../gateway/workspaces/git-http.ts'
import { type CreateWorkspace, Workspaces, type WorkspacesOptions } from '../../../gateway/workspaces/workspaces.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { newTaskId, TaskId } from '../../../protocol/ids.ts'

const cleanups: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

export function temporary(name = 'test'): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), `rclaude-${name}-`)))
  cleanups.push(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** git as a user in that folder; output without the last line end. */
export const gitIn =
  (cwd: string) =>
  (...args: string[]): string =>
    execFileSync('git', args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_OPTIONAL_LOCKS: '0', // looking must not write
        GIT_AUTHOR_NAME: 'User',
        GIT_AUTHOR_EMAIL: 'user@example.com',
        GIT_COMMITTER_NAME: 'User',
        GIT_COMMITTER_EMAIL: 'user@example.com',
      },
      maxBuffer: 64 * 1024 ** 2,
    })
      .toString()
      .replace(/\n$/, '')

export function repository(...initArgs: string[]) {
  const path = temporary('repo')
  const git = gitIn(path)
  git('init', '-q', '-b', 'main', ...initArgs)
  return { path, git }
}

export async function startGitGateway({
  deadlineSeconds = 60,
  ...options
}: Partial<WorkspacesOptions> & { deadlineSeconds?: number } = {}) {
  const directory = temporary('data')
  const workspaces = new Workspaces({ directory, ...options })
  let received = 0
  const failures: unknown[] = []
  const complaints: string[] = []
  const server = createServer((request, response) => {
    void route(request, response).catch((error: unknown) => {
      failures.push(error)
      if (response.headersSent) response.destroy()
      else response.writeHead(error instanceof RclaudeError ? error.status : 500).end(String(error))
    })
  })
  server.on('connection', (socket) => socket.on('close', () => (received += socket.bytesRead)))

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://localhost')
    const [, id = '', rest = ''] = /^\/v1\/tasks\/([^/]+)\/git\/(.*)$/.exec(url.pathname) ?? []
    const path = GIT_PATHS.find((known) => known === rest)
    if (path === undefined) throw new RclaudeError('not_found', request.url ?? '')
    const caller = { 'Bearer owner-token': 'owner', 'Bearer reader-token': 'reader' }[
      request.headers.authorization ?? ''
    ]
    if (caller !== 'owner' && caller !== 'reader') {
      response.writeHead(401, { 'www-authenticate': 'Bearer' }).end()
      return
    }
    const access = await workspaces.access(TaskId.parse(id), caller)
    await serveGit({
      ...access,
      request,
      response,
      path,
      deadlineSeconds,
      onComplaint: (text) => complaints.push(text),
      service: url.searchParams.get('service') ?? undefined,
    })
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  cleanups.push(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  return {
    directory,
    workspaces,
    url,
    failures,
    complaints,
    server,
    /** Bytes that clients sent on connections that are closed. */
    received: () => received,
    async newTask(create: Partial<CreateWorkspace> = {}): Promise<GatewayRemote & { id: TaskId; repository: string }> {
      const id = newTaskId()
      await workspaces.create(id, { objectFormat: 'sha1', owner: 'ann', ...create })
      return { id, gateway: url, token: 'owner-token', taskId: id, repository: workspaces.repositoryPath(id) }
    },
    /** What the agent's side of the gateway does with `/git/...` of this task. */
    forward: (id: TaskId) => (request: IncomingMessage, response: ServerResponse) => {
      const agentSide = async () => {
        const asked = new URL(request.url ?? '', 'http://localhost')
        const path = GIT_PATHS.find((known) => `/git/${known}` === asked.pathname)
        if (path === undefined) throw new RclaudeError('not_found', request.url ?? '')
        const access = await workspaces.access(id, 'agent')
        const service = asked.searchParams.get('service') ?? undefined
        await serveGit({ ...access, request, response, path, service, deadlineSeconds })
      }
      agentSide().catch((error: unknown) => {
        failures.push(error)
        if (response.headersSent) response.destroy()
        else response.writeHead(error instanceof RclaudeError ? error.status : 500).end(String(error))
      })
    },
  }
}
export type GitGateway = Awaited<ReturnType<typeof startGitGateway>>
