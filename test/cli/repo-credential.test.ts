import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { checkRepoOptions, repoCredential, repoRequest } from '../../cli/repo-credential.ts'
import { CreateTask } from '../../protocol/task.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

const repo = 'https://git.example.org/me/private.git'
const noStdin = () => Promise.reject(new Error('standard input must not be read'))
const work = { agent: 'command', command: ['true'] } as const

test('the token comes from the environment, a file or standard input, for the usual user', async () => {
  const file = join(temporaryDirectory(), 'token')
  writeFileSync(file, 'from-file\r\n')
  const sources = { env: { T: 'from-env' }, readStdin: async () => 'from-stdin\n' }
  const user = 'x-access-token'
  expect(await repoCredential({ repo, repoToken: 'T' }, sources)).toEqual({ user, token: 'from-env' })
  expect(await repoCredential({ repo, repoToken: `T=@${file}` }, sources)).toEqual({ user, token: 'from-file' })
  expect(await repoCredential({ repo, repoToken: 'T=-', repoUser: 'me' }, sources)).toEqual({
    user: 'me',
    token: 'from-stdin',
  })
  expect(await repoCredential({ repo }, sources)).toBeUndefined()
})

test('a literal token, one of two lines and one that is missing are refused, and not repeated', async () => {
  const sources = { env: { TWO: 'hunter2\nhunter3' }, readStdin: noStdin }
  for (const repoToken of ['T=hunter2', 'TWO', 'GONE']) {
    const refusal = await repoCredential({ repo, repoToken }, sources).catch((error: Error) => error)
    expect(refusal).toMatchObject({ code: 'invalid' })
    expect(String(refusal)).toContain('--repo-token')
    expect(String(refusal)).not.toContain('hunter')
  }
})

test.each([
  [{ repo: 'git@github.com:me/x.git' }, 'for ssh.*https://github.com/me/x.git'],
  [{ repo: 'ssh://git@github.com:22/me/x.git' }, 'for ssh.*https://github.com/me/x.git'],
  [{ repo: 'https://me:hunter2@github.com/me/x.git' }, 'must not carry credentials.*--repo-token'],
  [{ repo: 'ftp://github.com/me/x.git' }, 'expected an http'],
  [{ repo: 'http://github.com/me/x.git', repoToken: 'T' }, 'in the clear: clone https://github.com instead'],
  [{ repo: 'file:///x.git', repoToken: 'T' }, 'a token is for an http'],
  [{ repo: 'https://git hub.com/x' }, 'expected an http'],
  [{ repo, repoToken: 'T', repoCredentials: true }, 'contradict'],
  [{ repo, repoUser: 'me' }, 'give --repo-token NAME too'],
  [{ repo, workspace: false }, 'contradict'],
  [{ repo, repoToken: 'T=-', secret: ['S=-'] }, 'standard input cannot hold both'],
  [{ repoToken: 'T' }, '--repo-token is for --repo'],
  [{ repoCredentials: true }, '--repo-credentials is for --repo'],
  [{ ref: 'main' }, '--ref says'],
])('%j is refused with the reason', (options, why) => {
  const check = () => checkRepoOptions({ workspace: true, ...options })
  expect(check).toThrow(new RegExp(why))
  expect(check).not.toThrow(/hunter2/)
})

test('a token on http is for loopback only', () => {
  for (const url of ['http://localhost:3000/x', 'http://127.0.0.1/x', 'http://[::1]:8080/x'])
    expect(() => checkRepoOptions({ workspace: true, repo: url, repoToken: 'T' })).not.toThrow()
})

test('the request keeps the user and hides the token', () => {
  const request = CreateTask.parse({ ...work, ...repoRequest({ repo, depth: 3 }, { user: 'me', token: 't0ken' }) })
  expect(request.workspace).toEqual({ kind: 'repo', url: repo, depth: 3, user: 'me' })
  expect(request.repoToken).toBe('t0ken')
})

test.each([
  [{ workspace: { kind: 'repo', url: repo }, repoToken: 't' }, /needs workspace.user/],
  [{ workspace: { kind: 'repo', url: repo, user: 'me' } }, /is missing/],
  [{ workspace: { kind: 'none' }, repoToken: 't' }, /of kind/],
  [{ workspace: { kind: 'repo', url: 'http://x.org/y', user: 'me' }, repoToken: 't' }, /in the clear/],
  [{ workspace: { kind: 'repo', url: 'https://x%2e.org/y', user: 'me' }, repoToken: 't' }, /plain host name/],
  [{ workspace: { kind: 'repo', url: repo, user: 'a:b' }, repoToken: 't' }, /no colon/],
  [{ workspace: { kind: 'repo', url: repo, user: 'me' }, repoToken: 'a\nb' }, /one line/],
])('the gateway refuses %j', (request, why) => {
  expect(CreateTask.safeParse({ ...work, ...request }).error?.message).toMatch(why)
})

test('--repo-credentials asks the helpers of git, and never at the terminal', async () => {
  const home = temporaryDirectory()
  const helper =
    '!f() { test "$1" = get && grep -q host=git.example.org && echo username=me && echo password=kept; }; f'
  const env = { PATH: process.env.PATH, HOME: home, GIT_CONFIG_GLOBAL: join(home, '.gitconfig') }
  execFileSync('git', ['config', '--global', 'credential.helper', helper], { env })
  const sources = { env, readStdin: noStdin }
  expect(await repoCredential({ repo, repoCredentials: true }, sources)).toEqual({ user: 'me', token: 'kept' })
  await expect(repoCredential({ repo: 'https://other.example.org/x', repoCredentials: true }, sources)).rejects.toThrow(
    'your git has no credential for other.example.org',
  )
})
