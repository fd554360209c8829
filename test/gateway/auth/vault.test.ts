import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openVault } from '../../../gateway/auth/vault.ts'
import { newTaskId } from '../../../protocol/ids.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

test('what was sealed is opened with the same key and for the same task only', () => {
  const keyFile = join(temporaryDirectory(), 'secret.key')
  const taskId = newTaskId()
  const hidden = { secrets: { TOKEN: 'hunter2-hunter2' }, repoToken: 'hunter2-of-the-clone' }
  const sealed = openVault(keyFile).seal(taskId, hidden)
  expect(sealed.includes('hunter2')).toBe(false)
  expect(openVault(keyFile).open(taskId, sealed)).toEqual(hidden)
  expect(() => openVault(keyFile).open(newTaskId(), sealed)).toThrow()
})

test('the key is readable by its owner only and a broken one is not replaced', () => {
  const keyFile = join(temporaryDirectory(), 'secret.key')
  openVault(keyFile)
  expect(statSync(keyFile).mode & 0o777).toBe(0o600)
  writeFileSync(keyFile, 'short')
  expect(() => openVault(keyFile)).toThrow(/not a 32-byte key/)
  expect(readFileSync(keyFile, 'utf8')).toBe('short')
})

test('a fingerprint tells texts apart, and is another one under another key', () => {
  const keyFile = join(temporaryDirectory(), 'secret.key')
  const vault = openVault(keyFile)
  expect(vault.fingerprint('a')).toBe(openVault(keyFile).fingerprint('a'))
  expect(vault.fingerprint('a')).not.toBe(vault.fingerprint('b'))
  expect(vault.fingerprint('a')).not.toBe(openVault(join(temporaryDirectory(), 'secret.key')).fingerprint('a'))
})
