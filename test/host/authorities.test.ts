import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { expect, test } from 'vitest'
import { writeAuthorities } from '../../host/authorities.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

test('git gets the usual authorities, the system file and the extra one', async () => {
  const directory = temporaryDirectory()
  const [extra, system] = ['extra.pem', 'system.pem'].map((name) => join(directory, name)) as [string, string]
  writeFileSync(extra, 'EXTRA\n')
  writeFileSync(system, 'SYSTEM\n')
  const file = await writeAuthorities(directory, { NODE_EXTRA_CA_CERTS: extra, SSL_CERT_FILE: system })
  const text = readFileSync(file ?? '', 'utf8')
  expect(text).toContain('EXTRA')
  expect(text).toContain('SYSTEM')
  expect(text).toContain(rootCertificates[0])
})

test.each([
  ['there is no extra one', {}],
  ['it cannot be read', { NODE_EXTRA_CA_CERTS: '/nowhere.pem' }],
  ['git is told already', { NODE_EXTRA_CA_CERTS: import.meta.filename, GIT_SSL_CAINFO: '/own.pem' }],
])('git is left as it is when %s', async (_, env) => {
  expect(await writeAuthorities(temporaryDirectory(), env)).toBeUndefined()
})
