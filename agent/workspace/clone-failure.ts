/** What git says when a clone fails, as a sentence with what to do next. Git is run with LC_ALL=C, so its words are known. */
import type { RunWorkspace } from '../../protocol/run.ts'
import { complaint, type GitOutput } from './git.ts'

export type CloneSource = Extract<RunWorkspace, { kind: 'repo' }>

/** A clone with a credential follows no redirect. */
export const wasRedirected = ({ code, stderr }: Pick<GitOutput, 'code' | 'stderr'>): boolean =>
  code !== 0 && /returned error: 30[12378]/.test(stderr)

export function cloneFailure(source: CloneSource, stderr: string): string {
  const { url } = source
  const host = /^[a-z]+:\/\/([^/?#]+)/.exec(url)?.[1] ?? url
  const what = source.ref ?? 'HEAD'
  const sentence = sentenceFor(source, host, what, stderr)
  return sentence ?? `${what} of ${url} could not be cloned: ${complaint(stderr)}`
}

const GIVE = '--repo-token NAME (its value from the environment, a file or standard input) or --repo-credentials'

function sentenceFor(source: CloneSource, host: string, what: string, stderr: string): string | undefined {
  const { url, credential } = source
  const says = (pattern: RegExp) => pattern.test(stderr)
  if (says(/cannot (run|exec) .*askpass/))
    return `${url} could not be cloned: programs cannot be run from the folder of the agent (is it mounted noexec?)`
  if (says(/Authentication failed|could not read (Username|Password)|returned error: 401/))
    return credential === undefined
      ? `${host} asks who wants to clone ${url} (401), and this task has nothing to say: run it with ${GIVE}`
      : `${host} refused the token for ${url} (401): is it valid, not expired, and for user "${credential.user}" (--repo-user)?`
  if (says(/returned error: 403/))
    return `${host} forbids to clone ${url} (403): ${credential === undefined ? `if it is private, run it with ${GIVE}` : 'the token lacks the right to read it, or must be authorised for its organisation first'}`
  if (says(/returned error: 404|repository '.*' not found/))
    return `${host} says that there is no ${url} (404). Hosting services say so of private repositories too: check the spelling, and ${credential === undefined ? `if it is private, run it with ${GIVE}` : 'whether the token may read this repository'}`
  if (wasRedirected({ code: 1, stderr }))
    return `${host} redirects ${url} to another address, and a token is sent nowhere but where it is meant for: give --repo the new address`
  if (says(/couldn't find remote ref|not our ref|unadvertised object|no such remote ref/i))
    return `${url} has no ${what}: --ref takes a branch, a tag, or a commit in full (40 digits) that the server hands out`
  if (says(/Could not resolve (host|proxy)/))
    return `the machine of the task cannot find ${host} (no such name in its DNS): check the spelling of ${url}`
  if (says(/certificate|SSL|TLS|gnutls/i))
    return `${host} cannot be trusted (TLS): ${complaint(stderr)}; a private authority goes into SSL_CERT_FILE where the task runs`
  if (says(/Failed to connect|Connection refused|timed out|Couldn't connect|unreachable/i))
    return `the machine of the task cannot reach ${host} for ${url}: ${complaint(stderr)}`
  return undefined
}
