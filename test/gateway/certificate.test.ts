/** What is said of certificate files that cannot be used, and of what is changed under a gateway that has some. */
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { SecureContextOptions } from 'node:tls'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { type CertificateFiles, ServedCertificate } from '../../gateway/certificate.ts'
import { hasOpenssl, makePrivateCa, type PrivateCa } from '../helpers/private-ca.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

const NOBODY = 65_534
const silent = pino({ level: 'silent' })

/** Each: what the files are, and what is said. */
const UNUSABLE: Record<string, [make: (ca: PrivateCa, folder: string) => CertificateFiles, says: RegExp]> = {
  'a certificate that is not there': [
    ({ files }) => ({ ...files, cert: '/nonexistent/cert.pem' }),
    /^listen\.tls\.cert: \/nonexistent\/cert\.pem is not there$/,
  ],
  'a key that is not there': [
    ({ files }) => ({ ...files, key: '/nonexistent/key.pem' }),
    /^listen\.tls\.key: \/nonexistent\/key\.pem is not there$/,
  ],
  'a folder': [({ files }, folder) => ({ ...files, key: folder }), /^listen\.tls\.key: \S+ cannot be read: EISDIR/],
  'the two exchanged': [
    ({ files: { cert, key } }) => ({ cert: key, key: cert }),
    /^listen\.tls\.cert: \S+ does not begin with a certificate in PEM$/,
  ],
  'a key of another certificate': [
    ({ files, issue }) => ({ ...files, key: issue().key }),
    /^listen\.tls\.key: \S+ does not fit the first certificate in \S+cert1\.pem \(CN=gateway\)$/,
  ],
  'a chain that begins with the authority': [
    ({ file, files, cert }, folder) => {
      const chain = join(folder, 'chain.pem')
      writeFileSync(chain, `${readFileSync(file, 'utf8')}${cert}`)
      return { ...files, cert: chain }
    },
    /^listen\.tls\.key: \S+ does not fit the first certificate in \S+chain\.pem \(CN=Private CA\)$/,
  ],
  'an expired certificate': [
    ({ issue }) => issue({ days: -1 }),
    /^listen\.tls\.cert: \S+ expired on .* GMT: renew it$/,
  ],
  'a key with a passphrase': [
    ({ files }, folder) => {
      const key = join(folder, 'locked.pem')
      execFileSync('openssl', ['pkey', '-in', files.key, '-aes256', '-passout', 'pass:x', '-out', key])
      return { ...files, key }
    },
    /^listen\.tls\.key: \S+ is encrypted: give one without a passphrase$/,
  ],
  'what is no key': [({ files }) => ({ ...files, key: files.cert }), /^listen\.tls\.key: \S+ holds no key in PEM$/],
}

describe.skipIf(!hasOpenssl)('certificate files', () => {
  test.each(Object.entries(UNUSABLE))(
    '%s is refused, with the key of the configuration and the file',
    async (...row) => {
      const [, [make, says]] = row
      const files = make(makePrivateCa(), temporaryDirectory())
      await expect(ServedCertificate.open(files, silent)).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringMatching(says),
      })
    },
  )

  test('a key of somebody else is refused, with who cannot read it', async () => {
    const { files } = makePrivateCa()
    chmodSync(dirname(files.key), 0o755)
    chmodSync(files.key, 0)
    const isRoot = process.geteuid?.() === 0
    if (isRoot) process.seteuid?.(NOBODY) // whom modes hold for
    try {
      await expect(ServedCertificate.open(files, silent)).rejects.toThrow(
        `listen.tls.key: ${files.key} cannot be read by the user that the gateway runs as`,
      )
    } finally {
      if (isRoot) process.seteuid?.(0)
    }
  })

  test('what changes is served once it is whole; until then the one of before, and the log says why, once', async () => {
    const ca = makePrivateCa()
    const folder = temporaryDirectory()
    const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
    const put = (name: 'cert' | 'key', from: string) => copyFileSync(from, files[name])
    put('cert', ca.files.cert)
    put('key', ca.files.key)
    const lines: string[] = []
    const log = pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(line) })
    const served: SecureContextOptions[] = []
    const certificate = await ServedCertificate.open(files, log)
    certificate.follow({ setSecureContext: (context) => void served.push(context) }, 3_600_000)
    lines.length = 0

    await certificate.look()
    expect([served, lines]).toEqual([[], []])
    const next = ca.issue({ days: 100 })
    put('cert', next.cert)
    await certificate.look()
    await certificate.look()
    expect(served).toEqual([])
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain('the certificate of before is served on: listen.tls.key: ')
    const before = certificate.expiresAt
    put('key', next.key)
    await certificate.look()
    expect(served).toMatchObject([{ minVersion: 'TLSv1.2' }])
    expect(lines).toHaveLength(2)
    expect(lines[1]).toContain('serving a new certificate')
    expect(certificate.expiresAt.getTime() - before.getTime()).toBeGreaterThan(90 * 86_400_000)

    const soon = ca.issue({ days: 3 })
    put('cert', soon.cert)
    put('key', soon.key)
    await certificate.look()
    expect(served).toHaveLength(2)
    expect(lines.at(-1)).toContain('expires soon')
    certificate.stop()
  })
})
