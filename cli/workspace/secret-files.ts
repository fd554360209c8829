/**
 * Files that probably hold a secret, among those that git does not track: by their name, or by what they begin with. A guess
 * that is meant to ask a person, not to keep anything safe by itself.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { bytesOf, textOf } from './git.ts'

export interface SecretFile {
  path: string
  why: string
}

/** What people check in as a pattern for the real thing. */
const HARMLESS = /\.(example|sample|template|dist|md|pub)$|(^|[._-])(example|sample|template)([._-]|$)/i

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^\.env(\..+)?$|^.+\.env$|^\.envrc$/i, 'variables of an environment'],
  [/^id_(rsa|dsa|ecdsa|ed25519)(_sk)?$|\.(key|ppk|p8)$/i, 'a private key'],
  [/\.(p12|pfx|jks|keystore|kdbx)$/i, 'a key store'],
  [/^(\.netrc|_netrc|\.git-credentials|\.pgpass|\.my\.cnf|\.htpasswd|\.dockercfg|\.pypirc)$/i, 'passwords'],
  [/^(credentials|client_secret.*\.json|service[-_]?account.*\.json|.*credentials\.json|kubeconfig)$/i, 'credentials'],
  [/^secrets?\.(ya?ml|json|toml|ini|txt|env)$/i, 'secrets'],
  [/\.tfstate(\.backup)?$|\.tfvars$/i, "Terraform's state or variables"],
]

const CONTENTS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/, 'a private key'],
  [/\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/, 'an AWS access key'],
  [/\bsk-ant-[A-Za-z0-9_-]{20,}/, 'an Anthropic key'],
  [/\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,}|glpat-[A-Za-z0-9_-]{20})/, 'a token of a git host'],
  [/\bxox[abpr]-[A-Za-z0-9-]{20,}/, 'a Slack token'],
  [/(?:^|\n)\s*\/\/[^\n]*:_authToken=(?!\$\{)/, 'a token of a package registry'],
]

/** Beginnings of files that are read; a larger number is judged by name only. */
const MAX_READ = 5_000
const READ_BYTES = 64 * 1024
/** A named pipe would wait for a writer; a link's target is not what travels. */
const NO_WAIT = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW

/** @param paths as byte strings, relative to `root` */
export async function secretFiles(root: string, paths: readonly string[]): Promise<SecretFile[]> {
  const found: SecretFile[] = []
  let read = 0
  for (const path of paths) {
    const why = byName(textOf(path)) ?? (read++ < MAX_READ ? await byContent(root, path) : undefined)
    if (why !== undefined) found.push({ path: textOf(path), why })
  }
  return found
}

export function byName(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return HARMLESS.test(name) ? undefined : NAMES.find(([pattern]) => pattern.test(name))?.[1]
}

async function byContent(root: string, path: string): Promise<string | undefined> {
  const file = await open(Buffer.concat([Buffer.from(`${root}/`), bytesOf(path)]), NO_WAIT).catch(() => undefined)
  if (file === undefined) return undefined
  try {
    const stat = await file.stat()
    if (!stat.isFile()) return undefined
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(READ_BYTES, stat.size)), 0)
    const text = buffer.toString('latin1', 0, bytesRead)
    return CONTENTS.find(([pattern]) => pattern.test(text))?.[1]
  } catch {
    return undefined // it cannot be read: then git will say so
  } finally {
    await file.close()
  }
}
