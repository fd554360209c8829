import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseEnv, parseLabels, parseSecrets } from '../../cli/variables.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

const noStdin = () => Promise.reject(new Error('standard input must not be read'))

test('--env takes a value, or passes ours on', () => {
  expect(parseEnv(['A=1', 'B=x=y', 'C=', 'HERE'], { HERE: 'there' })).toEqual({
    A: '1',
    B: 'x=y',
    C: '',
    HERE: 'there',
  })
  expect(() => parseEnv(['GONE'], {})).toThrow('this environment has no GONE')
  expect(() => parseEnv(['1A=x'], {})).toThrow('takes a name')
})

test('--secret takes its value from the environment, a file or standard input', async () => {
  const file = join(temporaryDirectory(), 'secret')
  writeFileSync(file, 'from file\n')
  const secrets = await parseSecrets(['A', `B=@${file}`, 'C=-'], {
    env: { A: 'from env' },
    readStdin: async () => 'from stdin',
  })
  expect(secrets).toEqual({ A: 'from env', B: 'from file', C: 'from stdin' })
})

test('a literal secret on the command line is refused with the reason, and not repeated', async () => {
  const refusal = await parseSecrets(['KEY=hunter2'], { env: {}, readStdin: noStdin }).catch((error: Error) => error)
  expect(refusal).toMatchObject({ code: 'invalid' })
  expect(String(refusal)).toContain('can be read by every user of this machine')
  expect(String(refusal)).not.toContain('hunter2')
  const swapped = await parseSecrets(['sk-hunter2'], { env: {}, readStdin: noStdin }).catch((error: Error) => error)
  expect(String(swapped)).not.toContain('hunter2')
})

test('a secret that is not there, empty, or read twice from standard input is refused', async () => {
  const readStdin = async () => 'x'
  await expect(parseSecrets(['GONE'], { env: {}, readStdin })).rejects.toThrow('this environment has no GONE')
  await expect(parseSecrets(['A=@/does/not/exist'], { env: {}, readStdin })).rejects.toThrow('ENOENT')
  await expect(parseSecrets(['A=-', 'B=-'], { env: {}, readStdin })).rejects.toThrow('was read for A already')
  await expect(parseSecrets(['A=-'], { env: {}, readStdin: async () => '' })).rejects.toThrow('empty')
})

test('a label is a name, with a value when there is an equals sign', () => {
  expect(parseLabels(['nightly', 'team=web=1'])).toEqual({ nightly: '', team: 'web=1' })
})
