/**
 * A repository that the agent clones. The URL, the name of the user and how much history are part of the task and can be
 * read by whoever may see it; the token of a private one is a secret of its own: sealed until the agent has it, given to
 * the one git command that clones, and gone before anything of the task runs.
 */
import { z } from 'zod'
import { isLoopbackHost } from './loopback.ts'

/** Commits of history that a clone has when the task does not say, as with a snapshot of one's own files. */
export const DEFAULT_CLONE_DEPTH = 50
/** What hosting services take as the user of a token: GitHub means it, GitLab and Gitea take any name. */
export const DEFAULT_REPO_USER = 'x-access-token'

const SSH_URL = /^(?:git\+)?ssh(?:\+git)?:\/\/(?:[^/@]*@)?([^/:]+)(?::\d+)?\/(.*)$/i
/** `user@host:path`, which git takes for ssh. */
const SCP_LIKE = /^(?:[^/@:]+@)?([^/@:]+):(?!\/\/)(.*)$/

/** Names no part of the URL but what the user may see anyway: it could hold a password. */
function urlFault(url: string): string | undefined {
  const ssh = SSH_URL.exec(url) ?? SCP_LIKE.exec(url)
  if (ssh !== null)
    return `is for ssh, and the machine of a task has no SSH key of yours: give https://${ssh[1]}/${ssh[2]?.replace(/^\//, '')}, with --repo-token or --repo-credentials when it is private`
  if (!/^(https?|file):\/\/[^\s\0]+$/.test(url)) return 'expected an http://, https:// or file:// URL'
  if (/^[a-z]+:\/\/[^/?#]*@/.test(url))
    return 'must not carry credentials, which would stand in logs and in the clone: give --repo-user and --repo-token (workspace.user and repoToken)'
  return undefined
}

export const RepoUrl = z
  .string()
  .max(2_000)
  .superRefine((url, context) => {
    const message = urlFault(url)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })

/** Basic authentication ends the name at a colon. */
export const RepoUser = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\x00-\x1f\x7f:]+$/, 'must hold no colon and no control character')

export const RepoToken = z
  .string()
  .min(1)
  .max(10_000)
  .regex(/^[^\x00-\x1f\x7f]+$/, 'must be one line')
export type RepoToken = z.infer<typeof RepoToken>

export const RepoSource = z.object({
  kind: z.literal('repo'),
  url: RepoUrl,
  ref: z
    .string()
    .max(250)
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_./+@-]*$/, 'expected a branch, tag or commit')
    .optional(),
  /** Commits of history. */
  depth: z.number().int().positive().max(1_000_000).optional(),
  /** Whose `repoToken` it is cloned with; absent for a public repository. */
  user: RepoUser.optional(),
})

/** Origins that a token may be sent to: what git puts into its question for the password, letter for letter. */
const ORIGIN = /^(https?):\/\/([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(?=[/?#]|$)/

export interface Origin {
  scheme: 'http' | 'https'
  /** With the port, when the URL has one. */
  host: string
}

/** Undefined for a URL that no token may be sent to. */
export function originOf(url: string): Origin | undefined {
  const [, scheme, name = '', port = ''] = ORIGIN.exec(url) ?? []
  return scheme === 'http' || scheme === 'https' ? { scheme, host: `${name}${port}` } : undefined
}

/** Why a token must not be used for this clone; undefined when it may. */
export function tokenFault(url: string): string | undefined {
  const origin = originOf(url)
  if (origin === undefined) return 'a token is for an http:// or https:// URL with a plain host name'
  if (origin.scheme === 'http' && !isLoopbackHost(origin.host.replace(/:\d+$/, '')))
    return `a token would cross the network in the clear: clone https://${origin.host} instead`
  return undefined
}
