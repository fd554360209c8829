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
  files: { key: string; cert: string }
}

/** A certificate for `gateway.test`, 127.0.0.1 and localhost. */
export function makePrivateCa(): PrivateCa {
  const folder = temporaryDirectory()
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: folder })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...newKey, '-days', '1', '-subj', '/CN=Private CA', '-keyout', 'ca.key', '-out', 'ca.pem')
  openssl('req', ...newKey, '-subj', '/CN=gateway', '-keyout', 'key.pem', '-out', 'request.pem')
  writeFileSync(at('names'), 'subjectAltName=DNS:gateway.test,DNS:localhost,IP:127.0.0.1\n')
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '1', '-extfile', 'names']
  openssl('x509', '-req', '-in', 'request.pem', ...signed, '-out', 'cert.pem')
  const files = { key: at('key.pem'), cert: at('cert.pem') }
  return { file: at('ca.pem'), files, key: readFileSync(files.key, 'utf8'), cert: readFileSync(files.cert, 'utf8') }
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
