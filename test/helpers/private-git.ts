/**
 * A hosting service on loopback: git's own smart HTTP (git http-backend as CGI) behind basic authentication, which
 * writes down who said what to it. `answers` overrides the answer for paths that begin so.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

export interface PrivateGit {
  url: string
  host: string
  /** `project.git` with a README and a branch `dev`; its newest commit on main. */
  commit: string
  git(...args: string[]): string
  /** Of every request, in order. */
  asked: Array<{ path: string; authorization: string | undefined }>
  answers: Map<string, { status: number; location?: string; onlyWithToken?: boolean }>
}

export async function startPrivateGit(credential: { user: string; token: string }): Promise<PrivateGit> {
  const root = mkdtempSync(join(tmpdir(), 'rclaude-private-git-'))
  const git = workTree(root)
  const expected = `Basic ${Buffer.from(`${credential.user}:${credential.token}`).toString('base64')}`
  const asked: PrivateGit['asked'] = []
  const answers: PrivateGit['answers'] = new Map()
  const server = createServer((request, response) => {
    const { authorization } = request.headers
    const path = request.url ?? '/'
    asked.push({ path, authorization })
    const [prefix, answer] =
      [...answers].find(
        ([beginning, { onlyWithToken }]) =>
          path.startsWith(beginning) && (onlyWithToken !== true || authorization === expected),
      ) ?? []
    if (prefix !== undefined && answer !== undefined) {
      const { status, location } = answer
      response.writeHead(status, location === undefined ? {} : { location: location + path.slice(prefix.length) }).end()
    } else if (authorization !== expected) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="private"' }).end()
    } else backend(root, request, response)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
    rmSync(root, { recursive: true, force: true })
  })
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url: `http://${host}`, host, commit: git('rev-parse', 'main'), git, asked, answers }
}

function workTree(root: string) {
  const [work, bare] = [join(root, 'work'), join(root, 'project.git')]
  mkdirSync(work)
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=U', '-c', 'user.email=u@example.org', ...args], {
      cwd: work,
      env: { PATH: process.env.PATH, HOME: root },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
      .toString()
      .trim()
  git('init', '-q', '-b', 'main')
  for (const text of ['first', 'second', 'third']) {
    writeFileSync(join(work, 'README.md'), `${text}\n`)
    git('add', '-A')
    git('commit', '-qm', text)
  }
  git('branch', 'dev', 'HEAD~1')
  git('clone', '-q', '--bare', work, bare)
  git('remote', 'add', 'hosted', bare)
  return git
}

/** https://git-scm.com/docs/git-http-backend */
function backend(root: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: url.pathname,
      QUERY_STRING: url.searchParams.toString(),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'],
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'],
      GIT_PROTOCOL: request.headers['git-protocol']?.toString(),
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.stdin.on('error', () => {})
  request.pipe(child.stdin)
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.on('close', () => {
    const output = Buffer.concat(chunks)
    const end = output.indexOf('\r\n\r\n')
    const headers = Object.fromEntries(
      output
        .subarray(0, Math.max(0, end))
        .toString()
        .split('\r\n')
        .map((line) => line.split(': ') as [string, string]),
    )
    const { Status: status = '200', ...rest } = headers
    response.writeHead(Number.parseInt(status, 10), rest).end(output.subarray(end + 4))
  })
}
