/**
 * The certificate authorities that git must trust where Node trusts more than the usual ones. NODE_EXTRA_CA_CERTS adds to
 * Node's list; git's `http.sslCAInfo` and GIT_SSL_CAINFO take the place of git's: so what git gets is all of them.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

type Env = Readonly<Record<string, string | undefined>>

/** Debian and Alpine, Red Hat, SUSE, macOS. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

/**
 * Writes them into `directory`.
 * @returns the file; undefined when NODE_EXTRA_CA_CERTS adds nothing, cannot be read (of which Node itself warns), or git
 * is told by GIT_SSL_CAINFO what to trust
 */
export async function writeAuthorities(directory: string, env: Env): Promise<string | undefined> {
  if (env.GIT_SSL_CAINFO || !env.NODE_EXTRA_CA_CERTS) return undefined
  const extra = await readIfThere(env.NODE_EXTRA_CA_CERTS)
  if (extra === undefined) return undefined
  const { rootCertificates } = await import('node:tls')
  const system = await systemBundle(env)
  const file = join(directory, 'authorities.pem')
  await writeFile(file, [...rootCertificates, system, extra].filter(Boolean).join('\n'), { mode: 0o644 })
  return file
}

async function systemBundle(env: Env): Promise<string | undefined> {
  for (const file of [env.SSL_CERT_FILE, ...SYSTEM_BUNDLES]) {
    const text = file && (await readIfThere(file))
    if (text) return text
  }
  return undefined
}

const readIfThere = (file: string): Promise<string | undefined> => readFile(file, 'utf8').catch(() => undefined)
