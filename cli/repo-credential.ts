/**
 * The credential of a private `--repo`: a token that the user names as secrets are named, or what the user's own git
 * would use (`--repo-credentials`), which is asked only when they say so.
 */
import { spawn } from 'node:child_process'
import { DEFAULT_REPO_USER, originOf, RepoUrl, RepoUser, tokenFault } from '../protocol/clone.ts'
import { RclaudeError } from '../protocol/errors.ts'
import type { CreateTaskInput } from '../protocol/task.ts'
import { parseSecrets, type SecretSources } from './variables.ts'

export interface RepoOptions {
  repo?: string
  ref?: string
  repoToken?: string
  repoUser?: string
  repoCredentials?: boolean
  depth?: number
}

export interface RepoCredential {
  user: string
  token: string
}

/** A helper that opens a window waits for its user no longer than this. */
const HELPER_LIMIT_MS = 120_000
const MAX_ANSWER_BYTES = 64 * 1024

/** @throws {RclaudeError} `invalid` for options that contradict each other, or a URL that cannot be cloned */
export function checkRepoOptions(options: RepoOptions & { workspace: boolean; secret?: string[] }): void {
  const refuse = (why: string): never => {
    throw new RclaudeError('invalid', why)
  }
  const { repo, ref, repoToken, repoUser, repoCredentials } = options
  if (repo === undefined) {
    if (ref !== undefined) refuse('--ref says which part of --repo to clone: give --repo URL too')
    for (const [name, value] of Object.entries({ repoToken, repoUser, repoCredentials }))
      if (value !== undefined) refuse(`${FLAGS[name]} is for --repo: give --repo URL too`)
    return
  }
  if (!options.workspace) refuse('--repo and --no-workspace contradict each other')
  // Looked at here already: a URL with a password in it must not leave this machine.
  const url = RepoUrl.safeParse(repo)
  if (!url.success) refuse(`--repo: ${url.error.issues[0]?.message}`)
  if (repoToken !== undefined && repoCredentials === true)
    refuse('--repo-token and --repo-credentials contradict each other')
  if (repoUser !== undefined && repoToken === undefined)
    refuse('--repo-user says whose token it is: give --repo-token NAME too')
  if (repoToken?.endsWith('=-') && options.secret?.some((secret) => secret.endsWith('=-')))
    refuse('standard input cannot hold both a secret and the token of --repo-token')
  const fault = repoToken === undefined && repoCredentials !== true ? undefined : tokenFault(repo)
  if (fault !== undefined) refuse(`--repo: ${fault}`)
}

const FLAGS: Record<string, string> = {
  repoToken: '--repo-token',
  repoUser: '--repo-user',
  repoCredentials: '--repo-credentials',
}

/** Undefined for a public repository. */
export async function repoCredential(
  options: RepoOptions,
  sources: SecretSources,
): Promise<RepoCredential | undefined> {
  const { repo, repoToken, repoUser = DEFAULT_REPO_USER, repoCredentials } = options
  if (repo === undefined) return undefined
  if (repoCredentials === true) return askGit(repo, sources.env)
  const token = repoToken === undefined ? undefined : await tokenFrom(repoToken, sources)
  return token === undefined ? undefined : { user: RepoUser.parse(repoUser), token }
}

/** As `--secret` takes a value: NAME from the environment, NAME=@FILE, NAME=-. */
export async function tokenFrom(option: string, sources: SecretSources): Promise<string> {
  const [token] = Object.values(await parseSecrets([option], sources, '--repo-token'))
  // One line end is what an editor or `echo` leaves.
  const value = (token ?? '').replace(/\r?\n$/, '')
  if (value === '' || /[\x00-\x1f\x7f]/.test(value))
    throw new RclaudeError('invalid', '--repo-token: a token is one line and not empty')
  return value
}

/** Part of the request for a task. */
export function repoRequest(
  { repo = '', ref, depth }: RepoOptions,
  credential: RepoCredential | undefined,
): Pick<CreateTaskInput, 'workspace' | 'repoToken'> {
  return {
    workspace: {
      kind: 'repo',
      url: repo,
      ...(ref !== undefined && { ref }),
      ...(depth !== undefined && { depth }),
      ...(credential && { user: credential.user }),
    },
    ...(credential && { repoToken: credential.token }),
  }
}

/** `git credential fill` for the repository: the user's helpers answer, nobody is asked at the terminal. */
async function askGit(url: string, env: NodeJS.ProcessEnv): Promise<RepoCredential> {
  const origin = originOf(url)
  const path = new URL(url).pathname.replace(/^\//, '')
  const question = `protocol=${origin?.scheme}\nhost=${origin?.host}\npath=${path}\n\n`
  const answer = new Map(
    (await fill(question, env)).split('\n').map((line) => {
      const at = line.indexOf('=')
      return [line.slice(0, at), line.slice(at + 1)] as const
    }),
  )
  const [user, token] = [answer.get('username'), answer.get('password')]
  if (!user || !token)
    throw new RclaudeError(
      'invalid',
      `--repo-credentials: your git has no credential for ${origin?.host}; sign in there once with git or its credential helper, or give --repo-token NAME`,
    )
  return { user, token }
}

function fill(question: string, env: NodeJS.ProcessEnv): Promise<string> {
  const child = spawn('git', ['credential', 'fill'], {
    cwd: '/', // the repository that one stands in has no say in this
    stdio: ['pipe', 'pipe', 'ignore'], // what helpers say of themselves may hold anything
    env: { ...env, GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '', SSH_ASKPASS: '' },
    timeout: HELPER_LIMIT_MS,
  })
  const chunks: Buffer[] = []
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) child.kill()
    else chunks.push(chunk)
  })
  child.stdin.on('error', () => {}) // git ended without reading; its answer is empty then
  child.stdin.end(question)
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(new RclaudeError('invalid', `--repo-credentials: git cannot be run (${error.message})`)),
    )
    child.once('close', (code) => resolve(code === 0 ? Buffer.concat(chunks).toString('utf8') : ''))
  })
}
