/**
 * The gateway's own TLS. Its certificate and key stand in two files, which are read again when they change, so that a renewed
 * certificate needs no restart: new connections get the new one, open ones stay as they are. Files that cannot be used are
 * an error at the start; later the gateway goes on with what it has and says why in its log.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { GatewayConfig } from '../protocol/config.ts'
import { RclaudeError } from '../protocol/errors.ts'
import type { Logger } from './log.ts'

/** A certificate that has less left is warned of: whoever renews does so a month ahead. */
const EXPIRES_SOON_MS = 14 * 86_400_000

export type CertificateFiles = NonNullable<GatewayConfig['listen']['tls']>

interface Certificate {
  context: SecureContextOptions
  facts: { subject: string; names: string | undefined; expiresAt: Date }
}

/** What TLS is renewed on: `tls.Server`. */
interface TlsServer {
  setSecureContext(context: SecureContextOptions): void
}

export class ServedCertificate {
  readonly context: SecureContextOptions
  readonly #files: CertificateFiles
  readonly #log: Logger
  #served: Pems
  #expiresAt: Date
  /** What is wrong is said once, not at every look. */
  #lastComplaint = ''
  #timer: NodeJS.Timeout | undefined
  #server: TlsServer | undefined

  /** @throws RclaudeError `invalid` that names the key of the configuration, the file and what to do */
  static async open(files: CertificateFiles, log: Logger): Promise<ServedCertificate> {
    const pems = await readPems(files)
    return new ServedCertificate(files, log, pems, check(files, pems))
  }

  private constructor(files: CertificateFiles, log: Logger, pems: Pems, certificate: Certificate) {
    this.#files = files
    this.#log = log
    this.#served = pems
    this.context = certificate.context
    this.#expiresAt = certificate.facts.expiresAt
    this.#tell('serving TLS', certificate)
  }

  get expiresAt(): Date {
    return this.#expiresAt
  }

  /** Looks at the files again and again: that sees what a watch does not, on network disks and behind replaced links. */
  follow(server: TlsServer, intervalMs: number): void {
    this.#server = server
    this.#timer = setInterval(() => void this.look(), intervalMs).unref()
  }

  /** Never fails: what is wrong is logged, and the certificate of before stays. */
  async look(): Promise<void> {
    try {
      const pems = await readPems(this.#files)
      if (pems.cert.equals(this.#served.cert) && pems.key.equals(this.#served.key)) return
      const certificate = check(this.#files, pems)
      this.#server?.setSecureContext(certificate.context)
      this.#served = pems
      this.#expiresAt = certificate.facts.expiresAt
      this.#tell('serving a new certificate; open connections stay', certificate)
    } catch (error) {
      this.#complain((error as Error).message)
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #complain(message: string): void {
    if (message === this.#lastComplaint) return
    this.#lastComplaint = message
    this.#log.error({ expiresAt: this.#expiresAt }, `the certificate of before is served on: ${message}`)
  }

  #tell(message: string, { facts }: Certificate): void {
    this.#lastComplaint = ''
    this.#log.info(facts, message)
    if (facts.expiresAt.getTime() - Date.now() < EXPIRES_SOON_MS)
      this.#log.warn(facts, 'the certificate expires soon: renew it')
  }
}

interface Pems {
  cert: Buffer
  key: Buffer
}

async function readPems(files: CertificateFiles): Promise<Pems> {
  const cert = await readOne('cert', files.cert) // first: of two that are missing always the same one is named
  return { cert, key: await readOne('key', files.key) }
}

async function readOne(name: keyof CertificateFiles, file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why =
      code === 'ENOENT'
        ? 'is not there'
        : code === 'EACCES'
          ? 'cannot be read by the user that the gateway runs as'
          : `cannot be read: ${message}`
    throw refusal(name, file, why)
  }
}

function check(files: CertificateFiles, pems: Pems): Certificate {
  const certificate = parseCertificate(files.cert, pems.cert)
  const key = parseKey(files.key, pems.key)
  const subject = certificate.subject.replaceAll('\n', ', ')
  if (!certificate.checkPrivateKey(key))
    throw refusal('key', files.key, `does not fit the first certificate in ${resolve(files.cert)} (${subject})`)
  const now = Date.now()
  if (now < Date.parse(certificate.validFrom))
    throw refusal('cert', files.cert, `is valid only from ${certificate.validFrom} on: is the clock right?`)
  if (now > Date.parse(certificate.validTo))
    throw refusal('cert', files.cert, `expired on ${certificate.validTo}: renew it`)
  const context: SecureContextOptions = { ...pems, minVersion: 'TLSv1.2' }
  try {
    createSecureContext(context)
  } catch (error) {
    throw refusal('cert', files.cert, `cannot be served: ${(error as Error).message}`)
  }
  const facts = { subject, names: certificate.subjectAltName, expiresAt: new Date(certificate.validTo) }
  return { context, facts }
}

function parseCertificate(file: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch {
    throw refusal('cert', file, 'does not begin with a certificate in PEM')
  }
}

function parseKey(file: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch {
    const isEncrypted = pem.includes('ENCRYPTED') // which PEM says in its first lines
    throw refusal('key', file, isEncrypted ? 'is encrypted: give one without a passphrase' : 'holds no key in PEM')
  }
}

const refusal = (name: keyof CertificateFiles, file: string, why: string): RclaudeError =>
  new RclaudeError('invalid', `listen.tls.${name}: ${resolve(file)} ${why}`)
