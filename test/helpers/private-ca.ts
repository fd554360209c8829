/** A certificate authority that no machine knows, and TLS with a certificate of it in front of a gateway. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { onTestFinished } from 'vitest'
import { temporaryDirectory } from './temporary.ts'

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0
if (!hasOpenssl) console.log('nothing with a private authority is tested here: openssl is not installed')

export interface Certificate {
  key: string
  cert: string
}

export interface PrivateCa extends Certificate {
  /** For NODE_EXTRA_CA_CERTS. */
  file: string
  /** The certificate's and its key's. */
  files: Certificate
  /** Another certificate of this authority with a key of its own. @returns their files */
  issue(options?: { days?: number; commonName?: string; names?: string }): Certificate
}

const NAMES = 'DNS:gateway.test,DNS:*.preview.gateway.test,DNS:localhost,IP:127.0.0.1'

/** A certificate for `gateway.test`, names below `preview.gateway.test`, 127.0.0.1 and localhost. */
export function makePrivateCa(): PrivateCa {
  const folder = temporaryDirectory()
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: folder })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...newKey, '-days', '1', '-subj', '/CN=Private CA', '-keyout', 'ca.key', '-out', 'ca.pem')
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names']
  let issued = 0
  const issue: PrivateCa['issue'] = ({ days = 1, commonName = 'gateway', names = NAMES } = {}) => {
    writeFileSync(at('names'), `subjectAltName=${names}\n`)
    const [key, cert] = [`key${++issued}.pem`, `cert${issued}.pem`]
    openssl('req', ...newKey, '-subj', `/CN=${commonName}`, '-keyout', key, '-out', 'request.pem')
    openssl('x509', '-req', '-in', 'request.pem', ...signed, '-days', String(days), '-out', cert)
    return { key: at(key), cert: at(cert) }
  }
  const files = issue()
  const [key, cert] = [readFileSync(files.key, 'utf8'), readFileSync(files.cert, 'utf8')]
  return { file: at('ca.pem'), files, issue, key, cert }
}

export interface Terminator {
  port: number
  /** Where each connection came from. */
  remotePorts: number[]
}

/** @param upstream asked at each connection: the gateway may start later, or again */
export async function terminateTls(certificate: Certificate, upstream: () => string): Promise<Terminator> {
  const remotePorts: number[] = []
  const open = new Set<Socket>()
  const server = createServer({ key: certificate.key, cert: certificate.cert, noDelay: true }, (outer) => {
    const inner = connect(Number(new URL(upstream()).port), '127.0.0.1')
    outer.pipe(inner).pipe(outer)
    inner.on('error', () => {}).on('close', () => outer.destroy())
    outer.on('error', () => {}).on('close', () => inner.destroy())
  })
  server.on('connection', (socket: Socket) => {
    remotePorts.push(socket.remotePort ?? 0)
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of open) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, remotePorts }
}
