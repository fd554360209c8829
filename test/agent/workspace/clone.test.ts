/** Private clones against a real git server with basic authentication. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { CloneSource } from '../../../agent/workspace/clone-failure.ts'
import { cloneFailure } from '../../../agent/workspace/clone-failure.ts'
import { Workspace } from '../../../agent/workspace/workspace.ts'
import { gitIn, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { eventually } from '../../helpers/eventually.ts'
import { type PrivateGit, startPrivateGit } from '../../helpers/private-git.ts'

// Its own for each run: the whole machine is looked through for it.
const credential = { user: 'x-access-token', token: `canary-${randomBytes(12).toString('hex')}` }
const basic = `Basic ${Buffer.from(`${credential.user}:${credential.token}`).toString('base64')}`

async function clone(source: Partial<CloneSource> & { url: string }) {
  const gateway = await startGitGateway()
  const task = await gateway.newTask()
  const directory = temporary('placement')
  const [work, state] = [join(directory, 'work'), join(directory, 'state')]
  const workspace = new Workspace({
    taskId: task.id,
    work,
    state,
    author: { name: 'Agent', email: 'agent@example.com' },
    forward: gateway.forward(task.id),
    env: { SSL_CERT_FILE: process.env.SSL_CERT_FILE }, // and nothing that this machine has set for git
  })
  const again = () => workspace.prepare({ kind: 'repo', depth: 50, ...source })
  return { prepared: again(), again, directory, work, state, gateway, task, inWork: gitIn(work) }
}

const failure = async (source: Partial<CloneSource> & { url: string }): Promise<string> => {
  const { prepared, directory } = await clone(source)
  const message = await prepared.then(
    () => 'it was cloned',
    (error: Error) => error.message,
  )
  expect(message).not.toContain(credential.token)
  expect(filesWith(directory, credential.token)).toEqual([])
  return message
}

function filesWith(directory: string, text: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file, 'latin1').includes(text))
}

const told = (server: PrivateGit) => server.asked.map(({ authorization }) => authorization)

test('a private repository is cloned with its token, of which nothing is left behind', async () => {
  const server = await startPrivateGit(credential)
  const { prepared, directory, state, gateway, task, inWork } = await clone({
    url: `${server.url}/project.git`,
    credential,
  })
  await prepared
  expect(inWork('rev-parse', 'HEAD')).toBe(server.commit)
  expect(inWork('remote', 'get-url', 'origin')).toBe(`${server.url}/project.git`)
  expect(told(server)).toContain(basic)
  expect((await gateway.workspaces.refs(task.id)).snapshot).toBe(server.commit)
  for (const text of [credential.token, basic.slice('Basic '.length)]) {
    expect(filesWith(directory, text)).toEqual([])
    expect(filesWith(gateway.directory, text)).toEqual([])
  }
  expect(existsSync(join(state, 'askpass'))).toBe(false)
})

test('while git clones, the token stands in no environment and no argument of any process', async () => {
  const server = await startPrivateGit(credential)
  const seen: string[] = []
  let looks = 0
  const timer = setInterval(() => {
    looks++
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
      for (const name of ['cmdline', 'environ']) {
        const text = quietly(`/proc/${pid}/${name}`)
        if (text.includes(credential.token) || text.includes(basic.slice(6))) seen.push(`${pid} ${name}`)
      }
  }, 5)
  onTestFinished(() => clearInterval(timer))
  const { prepared } = await clone({ url: `${server.url}/project.git`, credential })
  await prepared
  expect(looks).toBeGreaterThan(3)
  expect(seen).toEqual([])
})

const quietly = (file: string): string => {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

test('a branch and a depth are what was asked for', async () => {
  const server = await startPrivateGit(credential)
  const { prepared, inWork } = await clone({ url: `${server.url}/project.git`, credential, ref: 'dev', depth: 1 })
  await prepared
  expect(inWork('rev-parse', 'HEAD')).toBe(server.git('rev-parse', 'dev'))
  expect(inWork('log', '--format=%s')).toBe('second')
})

test.each([301, 302, 307])('a redirect (%i) to another origin gets neither the token nor the clone', async (status) => {
  const [server, other] = [await startPrivateGit(credential), await startPrivateGit(credential)]
  server.answers.set('/project.git', { status, location: `${other.url}/project.git` })
  const message = await failure({ url: `${server.url}/project.git`, credential })
  expect(message).toContain(`${server.host} redirects`)
  expect(other.asked).toEqual([])
})

test('a redirect after the token was asked for does not carry it away either', async () => {
  const [server, other] = [await startPrivateGit(credential), await startPrivateGit(credential)]
  server.answers.set('/project.git', { status: 302, location: `${other.url}/project.git`, onlyWithToken: true })
  expect(await failure({ url: `${server.url}/project.git`, credential })).toContain(`${server.host} redirects`)
  expect(told(server)).toEqual([undefined, basic])
  expect(other.asked).toEqual([])
})

test('a service that wants .git at the end is asked again with it', async () => {
  const server = await startPrivateGit(credential)
  server.answers.set('/project/', { status: 302, location: `${server.url}/project.git/` })
  const { prepared, inWork } = await clone({ url: `${server.url}/project`, credential })
  await prepared
  expect(inWork('rev-parse', 'HEAD')).toBe(server.commit)
})

test('submodules are not fetched, with the token or without', async () => {
  const [server, other] = [await startPrivateGit(credential), await startPrivateGit(credential)]
  const work = server.git('rev-parse', '--show-toplevel')
  writeFileSync(join(work, '.gitmodules'), `[submodule "s"]\n\tpath = s\n\turl = ${other.url}/project.git\n`)
  server.git('update-index', '--add', '--cacheinfo', `160000,${other.commit},s`)
  server.git('add', '.gitmodules')
  server.git('commit', '-qm', 'submodule')
  server.git('push', '-q', 'hosted', 'main')
  const { prepared, work: cloned } = await clone({ url: `${server.url}/project.git`, credential })
  await prepared
  expect(existsSync(join(cloned, '.gitmodules'))).toBe(true)
  expect(other.asked).toEqual([])
})

test('a private repository without a token, and one with a wrong token, say which option helps', async () => {
  const server = await startPrivateGit(credential)
  const url = `${server.url}/project.git`
  expect(await failure({ url })).toMatch(`${server.host} asks who wants to clone ${url} (401)`)
  expect(await failure({ url })).toContain('--repo-token NAME')
  const wrong = { ...credential, token: 'not-the-token' }
  expect(await failure({ url, credential: wrong })).toMatch(
    /refused the token for .* \(401\).*user "x-access-token" \(--repo-user\)/,
  )
})

test('404, 403, an unknown ref, an unknown host and a closed port are told apart', async () => {
  const server = await startPrivateGit(credential)
  server.answers.set('/hidden.git', { status: 404 }).set('/forbidden.git', { status: 403 })
  expect(await failure({ url: `${server.url}/hidden.git` })).toMatch(/404.*private repositories too.*--repo-token/)
  expect(await failure({ url: `${server.url}/hidden.git`, credential })).toMatch(/404.*whether the token may read/)
  expect(await failure({ url: `${server.url}/forbidden.git`, credential })).toMatch(/403.*lacks the right/)
  expect(await failure({ url: `${server.url}/project.git`, credential, ref: 'nope' })).toMatch(/has no nope: --ref/)
  expect(await failure({ url: 'https://nowhere.invalid/x.git' })).toMatch(/cannot find nowhere\.invalid/)
  expect(await failure({ url: 'http://127.0.0.1:1/x.git' })).toMatch(/cannot reach 127\.0\.0\.1:1/)
})

test('a certificate that nobody vouches for is refused before the token is said', async () => {
  const folder = temporary('tls')
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', ...subject, '-keyout', key, '-out', cert],
    { stdio: 'ignore' },
  )
  let requests = 0
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) => {
    requests++
    response.writeHead(404).end()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => void server.close())
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/x.git`
  expect(await failure({ url, credential })).toMatch(/cannot be trusted \(TLS\).*SSL_CERT_FILE/)
  expect(requests).toBe(0)
  process.env.SSL_CERT_FILE = cert
  onTestFinished(() => void delete process.env.SSL_CERT_FILE)
  expect(await failure({ url, credential })).toMatch(/404/)
})

test('the program that answers git is for its owner only, and answers for no other host', async () => {
  const server = await startPrivateGit(credential)
  const { prepared, state } = await clone({ url: `${server.url}/project.git`, credential })
  const program = join(state, 'askpass', 'askpass')
  await eventually('the program lies there', () => existsSync(program), 5_000)
  expect(statSync(join(state, 'askpass')).mode & 0o777).toBe(0o700)
  const script = readFileSync(program, 'utf8')
  await prepared
  const ask = (question: string) => {
    try {
      return execFileSync('/bin/sh', ['-c', 'exec 3<<X\ntoken\nX\nexec sh -c "$0" sh "$1"', script, question], {
        env: { PATH: process.env.PATH, RCLAUDE_SCHEME: 'https', RCLAUDE_HOST: 'git.example.org' },
      }).toString()
    } catch {
      return 'refused'
    }
  }
  expect(ask("Password for 'https://me@git.example.org': ")).toBe('token\n')
  for (const question of [
    "Password for 'https://me@evil.example.org': ",
    "Password for 'https://me@git.example.org.evil.org': ",
    "Password for 'http://me@git.example.org': ",
    "Username for 'https://git.example.org': ",
  ])
    expect(ask(question)).toBe('refused')
})

test('words that are not known are passed on', () => {
  const source: CloneSource = { kind: 'repo', url: 'https://x.org/y.git', depth: 1 }
  expect(cloneFailure(source, 'fatal: the dog ate it\n')).toBe(
    'HEAD of https://x.org/y.git could not be cloned: fatal: the dog ate it',
  )
})

test('what a clone does not bring is named: submodules, wherever they claim to be, and pointers of git-lfs', async () => {
  const server = await startPrivateGit(credential)
  const whole = await clone({ url: `${server.url}/project.git`, credential })
  expect(await whole.prepared).toEqual([])

  const work = server.git('rev-parse', '--show-toplevel')
  writeFileSync(join(work, '.gitmodules'), '[submodule "x"]\n\tpath = ../../x\n\turl = file:///etc\n')
  writeFileSync(join(work, '.gitattributes'), '*.bin filter=lfs -text\n')
  writeFileSync(join(work, 'big.bin'), 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n')
  writeFileSync(join(work, 'small.bin'), 'its content')
  const noLfs = ['clean=', 'process=', 'required=false'].flatMap((setting) => ['-c', `filter.lfs.${setting}`])
  server.git(...noLfs, 'add', '-A')
  for (let at = 10; at < 22; at++)
    server.git('update-index', '--add', '--cacheinfo', `160000,${server.commit},libs/gr\u00fcn${at}`)
  server.git('commit', '-qm', 'parts')
  server.git('push', '-q', 'hosted', 'main')
  const parts = await clone({ url: `${server.url}/project.git`, credential })
  const missing = await parts.prepared
  expect(missing).toEqual([
    expect.stringMatching(/^not cloned, as submodules are not: libs\/gr\u00fcn10, .*libs\/gr\u00fcn19 and 2 more; /),
    expect.stringMatching(/^pointers without their content.*: big\.bin$/),
  ])
  expect(await parts.again()).toEqual([])

  const marker = join(temporary('marker'), 'ran')
  writeFileSync(join(work, '.gitmodules'), `[submodule "x"]\n\tpath = x\n\turl = .\n\tupdate = !touch ${marker}\n`)
  server.git(...noLfs, 'commit', '-qam', 'hostile')
  server.git('push', '-q', 'hosted', 'main')
  expect(await failure({ url: `${server.url}/project.git`, credential })).toContain('fsck error')
  expect(existsSync(marker)).toBe(false)
})
