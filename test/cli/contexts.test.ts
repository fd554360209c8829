/** Several gateways by name: what is stored, what is migrated, and which one a command talks to. */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { bundleCli, runCli } from './support/bundle.ts'
import { loopback, sendJson } from './support/loopback.ts'

const bundle = await bundleCli()
const TOKEN_ID = 'token_abcdefghjkmn'

/** A gateway that takes any token, and says that its user is what comes after `rct_`. */
const gateway = () =>
  loopback((request, response, { pathname }) => {
    const user = /rct_(\w+)/.exec(request.headers.authorization ?? '')?.[1] ?? 'nobody'
    sendJson(
      response,
      pathname === '/v1/me' ? { user, role: 'member', tokenId: TOKEN_ID, tokenName: 'x' } : { tasks: [] },
    )
  })

function scene(home = temporaryDirectory()) {
  const folder = join(home, '.config', 'rclaude')
  const rclaude = (args: string[], env: Record<string, string> = {}) => runCli(bundle, home, args, { env })
  return {
    home,
    folder,
    rclaude,
    login: (url: string, name: string | undefined, token: string) =>
      rclaude(['login', url, ...(name === undefined ? [] : ['--context', name])], { RCLAUDE_TOKEN: token }),
    names: async () => (await rclaude(['context', 'ls', '-q'])).stdout.trim().split('\n'),
    current: async () =>
      (JSON.parse((await rclaude(['context', 'ls', '--json'])).stdout) as { current: string }).current,
    /** As a release before contexts left it. */
    oldLogin(url: string, token: string) {
      mkdirSync(folder, { recursive: true })
      writeFileSync(join(folder, 'gateway.json'), JSON.stringify({ url, token }), { mode: 0o600 })
    },
  }
}

test('login adds contexts, use chooses, rm forgets, and no token is ever shown', async () => {
  const it = scene()
  const [work, home] = [await gateway(), await gateway()]
  expect((await it.login(work.url, 'work', 'rct_ana')).stdout).toContain('as ana (member); context work')
  await it.login(home.url, 'home', 'rct_bob')
  expect(await it.names()).toEqual(['local', 'home', 'work'])
  expect(await it.current()).toBe('home')
  await it.rclaude(['ps'])
  expect(await it.rclaude(['context', 'use', 'work'])).toMatchObject({ code: 0 })
  await it.rclaude(['ps'])
  expect([home.tokens, work.tokens]).toEqual([
    ['Bearer rct_bob', 'Bearer rct_bob'],
    ['Bearer rct_ana', 'Bearer rct_ana'],
  ])
  const said = await Promise.all(
    [['ls'], ['ls', '--json'], ['show'], ['show', 'home'], ['show', '--json']].map((args) =>
      it.rclaude(['context', ...args]),
    ),
  )
  for (const { code, stdout, stderr } of said)
    expect([code, stdout + stderr]).toEqual([0, expect.not.stringContaining('rct_')])
  expect(said[0]?.stdout).toMatch(/^\* +work +ana +http/m)
  for (const name of ['work', 'home']) {
    const file = join(it.folder, 'contexts', `${name}.json`)
    expect(statSync(file).mode & 0o777).toBe(0o600)
  }

  expect((await it.rclaude(['context', 'rm', 'work'])).stdout).toBe('forgot work; the current context is local\n')
  expect(await it.names()).toEqual(['local', 'home'])
  expect(await it.current()).toBe('local')
  expect(readFileSync(join(it.folder, 'contexts', 'home.json'), 'utf8')).toContain('rct_bob')
})

test('flag, then RCLAUDE_GATEWAY, then RCLAUDE_CONTEXT, then the current context', async () => {
  const it = scene()
  const gateways = { flag: await gateway(), url: await gateway(), variable: await gateway(), current: await gateway() }
  for (const [name, { url }] of Object.entries(gateways)) await it.login(url, name, `rct_${name}`)
  for (const { tokens } of Object.values(gateways)) tokens.length = 0
  const variables = { RCLAUDE_CONTEXT: 'variable' }
  const all = { ...variables, RCLAUDE_GATEWAY: gateways.url.url, RCLAUDE_TOKEN: 'rct_environment' }
  await it.rclaude(['ps', '--context', 'flag'], all)
  await it.rclaude(['--context', 'flag', 'ps'])
  await it.rclaude(['ps'], all)
  await it.rclaude(['ps'], { ...variables, RCLAUDE_GATEWAY: gateways.url.url })
  await it.rclaude(['ps'], variables)
  await it.rclaude(['ps'])
  const seen = Object.entries(gateways).map(([name, { tokens }]) => [name, tokens])
  expect(Object.fromEntries(seen)).toEqual({
    flag: ['Bearer rct_flag', 'Bearer rct_flag'], // never the token of the environment: that is for another gateway
    url: ['Bearer rct_environment', 'Bearer rct_url'],
    variable: ['Bearer rct_variable'],
    current: ['Bearer rct_current'],
  })
  const both = await it.rclaude(['ps', '--context', 'flag', '--gateway', gateways.url.url])
  expect(both).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('give one of them') })
  const show = await it.rclaude(['context', 'show', '--json'], variables)
  expect(JSON.parse(show.stdout)).toMatchObject({ name: 'variable', from: 'RCLAUDE_CONTEXT is set' })
})

test('the login of an earlier release becomes the current context, silently, and nothing of it is lost', async () => {
  const it = scene()
  const { url, tokens } = await gateway()
  it.oldLogin(url, 'rct_old')
  expect(await it.rclaude(['ps', '--json'])).toEqual({ code: 0, stdout: '{"tasks":[]}\n', stderr: '' })
  expect(tokens).toEqual(['Bearer rct_old'])
  const name = new URL(url).host.replace(':', '-')
  expect(await it.names()).toEqual(['local', name])
  expect(await it.current()).toBe(name)
  expect(statSync(join(it.folder, 'contexts', `${name}.json`)).mode & 0o777).toBe(0o600)
  expect(readdirSync(it.folder).sort()).toEqual(['contexts', 'current-context'])
})

test('an old login beside contexts is added under a free name, and the current one stays', async () => {
  const it = scene()
  const { url } = await gateway()
  const name = new URL(url).host.replace(':', '-')
  await it.login(url, name, 'rct_new')
  it.oldLogin(url, 'rct_old')
  expect(await it.names()).toEqual(['local', name, `${name}-2`])
  expect(await it.current()).toBe(name)
  expect(readFileSync(join(it.folder, 'contexts', `${name}-2.json`), 'utf8')).toContain('rct_old')
  // An earlier run was cut off before it removed the old file: the same login is no second context.
  it.oldLogin(url, 'rct_old')
  expect(await it.names()).toEqual(['local', name, `${name}-2`])
})

test('eight programs that migrate and log in at once lose nothing', async () => {
  const it = scene()
  const { url } = await gateway()
  it.oldLogin(url, 'rct_old')
  const ran = await Promise.all(Array.from({ length: 8 }, (_, n) => it.login(url, `n${n}`, `rct_user${n}`)))
  expect(ran.map(({ code, stderr }) => [code, stderr])).toEqual(ran.map(() => [0, '']))
  const old = new URL(url).host.replace(':', '-')
  expect((await it.names()).sort()).toEqual(['local', old, ...ran.map((_, n) => `n${n}`)].sort())
  for (let n = 0; n < 8; n++)
    expect(readFileSync(join(it.folder, 'contexts', `n${n}.json`), 'utf8')).toContain(`rct_user${n}"`)
  expect(await it.current()).toMatch(/^n\d$/)
  expect(readdirSync(join(it.folder, 'contexts')).filter((file) => !file.endsWith('.json'))).toEqual([])
})

test('a second login to a gateway renews the context of the same user, and adds one for another', async () => {
  const it = scene()
  const { url } = await gateway()
  for (const token of ['rct_ana', 'rct_ana', 'rct_bob']) await it.login(url, undefined, token)
  const name = new URL(url).host.replace(':', '-')
  expect(await it.names()).toEqual(['local', name, `${name}-2`])
  await it.rclaude(['context', 'use', 'local'])
  const unclear = await it.rclaude(['ps', '--gateway', url])
  expect(unclear).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('several contexts') })
})

test.each([
  [['context', 'use', 'nowhere'], /there is no context "nowhere"; there is local/],
  [['ps', '--context', '../../etc/passwd'], /there is no context/],
  [['context', 'rm', 'local'], /always there/],
  [['login', 'http://127.0.0.1:1', '--context', 'Not/Good'], /no name of a context/],
  [['login', 'http://127.0.0.1:1', '--context', 'local'], /take another name/],
])('%j is a usage error', async (args, message) => {
  const ran = await scene().rclaude(args, { RCLAUDE_TOKEN: 'rct_x' })
  expect(ran).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringMatching(message) })
})

test('a damaged context is told when it is used, hides no other, and can be removed', async () => {
  const it = scene()
  const { url } = await gateway()
  await it.login(url, 'good', 'rct_ana')
  writeFileSync(join(it.folder, 'contexts', 'bad.json'), '{')
  expect((await it.rclaude(['context', 'ls'])).stdout).toMatch(/bad +\(damaged\)\n\* +good/)
  expect((await it.rclaude(['ps', '--context', 'bad'])).stderr).toContain('is damaged')
  expect((await it.rclaude(['ps'])).code).toBe(0)
  expect((await it.rclaude(['context', 'rm', 'bad'])).code).toBe(0)
  expect(existsSync(join(it.folder, 'contexts', 'bad.json'))).toBe(false)
})

test('login --forget goes back to the local gateway and forgets only that one', async () => {
  const it = scene()
  const { url } = await gateway()
  await it.login(url, 'one', 'rct_ana')
  await it.login(url, 'two', 'rct_ana')
  expect((await it.rclaude(['login', '--forget'])).code).toBe(0)
  expect([await it.names(), await it.current()]).toEqual([['local', 'one'], 'local'])
})

test('bash completes the names of contexts', async () => {
  const it = scene()
  const { url } = await gateway()
  for (const name of ['work', 'home']) await it.login(url, name, 'rct_ana')
  const bin = join(it.home, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'rclaude'), `#!/bin/sh\nexec '${process.execPath}' '${bundle.directory}/rclaude.js' "$@"\n`)
  chmodSync(join(bin, 'rclaude'), 0o755)
  writeFileSync(join(it.home, 'completion'), (await it.rclaude(['completion', 'bash'])).stdout)
  const complete = (...words: string[]) =>
    execFileSync(
      '/bin/bash',
      [
        '-c',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: an array in bash
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rclaude; echo "${COMPREPLY[*]}"',
        join(it.home, 'completion'),
        'rclaude',
        ...words,
      ],
      { encoding: 'utf8', env: { PATH: `${bin}:${process.env.PATH}`, HOME: it.home } },
    ).trim()
  expect(complete('--context', '')).toBe('local home work')
  expect(complete('ps', '--context', 'w')).toBe('work')
  expect(complete('context', 'use', 'h')).toBe('home')
  expect(complete('--context', 'work', 'contex')).toBe('context')
  expect(complete('--context', 'run', 'ps', '--qui')).toBe('--quiet')
}, 60_000)
