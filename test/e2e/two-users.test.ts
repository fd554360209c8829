/** An agent that is root with few capabilities, beside work of another user: what it cannot do itself its second process does. */
import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, type TestContext, test } from 'vitest'
import { bash, say, startModelServer } from '../../demo/model-server.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import {
  capabilitiesIn,
  pidsOf,
  type RunningTask,
  startTwoUsers,
  statusOf,
  type TwoUsers,
  WORK_ID,
  whyNoTwoUsers,
} from '../helpers/two-users.ts'

const CAPABILITIES = ['setuid', 'setgid', 'kill']
const whyNot = whyNoTwoUsers()
if (whyNot !== undefined) console.log(`an agent and work of two users are not tried: ${whyNot}`)

let world: TwoUsers
let task: RunningTask

beforeAll(async () => {
  if (whyNot !== undefined) return
  world = await startTwoUsers(CAPABILITIES, { agents: { execUsers: ['root', 'nobody'] } })
  task = await world.start()
}, 60_000)
afterAll(() => world?.close(), 60_000)

const withTwoUsers = (what: string, work: () => Promise<void>) =>
  test(what, async (context: TestContext) => {
    if (whyNot !== undefined) context.skip(whyNot)
    await work()
  }, 60_000)

const isRunning = (mark: string) => pidsOf((command) => command === `sleep ${mark} `).length > 0
const handsNow = (before?: number) =>
  eventually('a second process runs', () => {
    const pid = task.hands()
    return pid !== undefined && pid !== before && pid
  })

withTwoUsers(
  'the second process is the work: its user, no further groups, no capability, nothing of the agent',
  async () => {
    const hands = statusOf(await handsNow())
    expect(hands.Uid).toBe(Array(4).fill(WORK_ID).join('\t'))
    expect(hands.Groups?.trim()).toBe('')
    expect(capabilitiesIn(hands.CapPrm ?? '')).toEqual([])
    expect(capabilitiesIn(statusOf(task.agent).CapEff ?? '').sort()).toEqual([...CAPABILITIES].sort())
    const seen = await task.exec(['sh', '-c', `tr '\\0' '\\n' < /proc/${await handsNow()}/environ`])
    expect(
      seen.output
        .trim()
        .split('\n')
        .map((line) => line.split('=')[0])
        .sort()
        .join(),
    ).toMatch(/^(LANG,)?PATH$/)
  },
)

withTwoUsers('what a command leaves running is found and killed, short or long, also that of root', async () => {
  const leave = (mark: string, first = '') => ['sh', '-c', `${first}setsid sh -c 'exec sleep ${mark}' & exit 0`]
  await task.exec(leave('600.11'))
  await task.exec(leave('600.12', 'sleep 2.2; '))
  await task.exec(leave('600.13'), { user: 'root' })
  for (const mark of ['600.11', '600.12', '600.13']) expect(isRunning(mark), mark).toBe(false)
})

withTwoUsers('of a third user the group is killed', async () => {
  await task.exec(['sh', '-c', 'sleep 600.21 & exit 0'], { user: 'nobody' })
  expect(isRunning('600.21')).toBe(false)
})

withTwoUsers('ports have the process that listens, and its command', async () => {
  const script = "require('net').createServer().listen(0,'127.0.0.1',function(){console.log(this.address().port)})"
  const listening = task.exec([process.execPath, '-e', `${script};setTimeout(process.exit,6000)`])
  const found = await eventually('the port is listed', async () => {
    const { ports } = (await (await task.fetch('/ports')).json()) as { ports: Array<Record<string, unknown>> }
    return ports.find(({ command }) => String(command).includes('createServer'))
  })
  expect(found.pid).toBeGreaterThan(1)
  expect(found.own).toBe(true)
  expect((await listening).output.trim()).toBe(String(found.port))
})

withTwoUsers("the task's processes are seen, though nothing but their environment says so", async () => {
  const { id } = task
  await task.exec(['true'])
  const health = await (await fetch(`${world.url}/v1/tasks/${id}/health`, { headers: world.headers })).json()
  const names = (health as { agent: { processes: { top: Array<{ name: string }> } } }).agent.processes.top
  expect(names.map(({ name }) => name)).toContain('sleep')
})

withTwoUsers(
  'a second process that is killed is there again, and commands are tidied up after all the same',
  async () => {
    const before = await handsNow()
    const slow = task.exec(['sh', '-c', 'setsid sleep 600.31 & sleep 0.5; kill -9 $0; exit 0', String(before)])
    expect((await slow).code).toBe(0)
    expect(isRunning('600.31')).toBe(false)
    await handsNow(before)
    expect((await task.fetch('/ports')).status).toBe(200)
    expect(task.log()).toContain('is started anew')
  },
)

withTwoUsers('one that was stopped is replaced, and a question meanwhile ends with a clear error', async () => {
  const before = await handsNow()
  process.kill(before, 'SIGSTOP') // as the work could; but the end of its command would wait for the next one
  const asked = await task.fetch('/ports')
  expect(asked.status).toBe(503)
  expect(await asked.json()).toMatchObject({ code: 'unavailable', detail: expect.stringContaining('second process') })
  await handsNow(before)
  expect((await task.fetch('/ports')).status).toBe(200)
})

withTwoUsers('files are written and read by the work, wherever it locked root out', async () => {
  await task.exec(['sh', '-c', 'umask 077; mkdir -p locked; echo secret > locked/file'])
  expect(await (await task.fetch('/files/locked/file')).text()).toBe('secret\n')
  const put = await task.fetch('/files/locked/new/deep', { method: 'PUT', body: 'hello' })
  expect(put.status).toBe(201)
  const etag = put.headers.get('etag') ?? ''
  expect((await task.exec(['stat', '-c', '%u %a', 'locked/new/deep'])).output).toBe(`${WORK_ID} 644\n`)
  expect((await task.fetch('/files/locked/new/deep', { headers: { 'if-none-match': etag } })).status).toBe(304)
  const stale = await task.fetch('/files/locked/new/deep', {
    method: 'PUT',
    body: 'x',
    headers: { 'if-match': '"1-2-3"' },
  })
  expect([stale.status, await stale.json()]).toMatchObject([412, { code: 'precondition' }])
  expect((await task.fetch('/files/locked/new/deep', { method: 'HEAD' })).headers.get('content-length')).toBe('5')
  expect((await task.fetch('/files/none')).status).toBe(404)
  const folder = await task.fetch('/files/locked', { method: 'PUT', body: 'x' })
  expect(folder.status).toBe(409)
  expect((await task.fetch('/files/locked?recursive', { method: 'DELETE' })).status).toBe(204)
})

withTwoUsers('an upload in parts waits where the work may write, and large files come and go whole', async () => {
  const bytes = randomBytes(9_000_000)
  const part = (from: number, to: number) =>
    task.fetch('/files/large?upload=upload-0123456789abcdef', {
      method: 'PUT',
      body: bytes.subarray(from, to),
      headers: { 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` },
    })
  expect((await part(0, 5_000_000)).status).toBe(202)
  expect((await part(5_000_000, bytes.length)).status).toBe(201)
  const back = Buffer.from(await (await task.fetch('/files/large')).arrayBuffer())
  expect(back.equals(bytes)).toBe(true)
})

withTwoUsers('a watch tells of changes, and ends when its client leaves', async () => {
  const leaving = new AbortController()
  const answer = await task.fetch('/files/?watch=1', { signal: leaving.signal })
  const seen = (async () => {
    let text = ''
    for await (const part of answer.body ?? []) {
      text += Buffer.from(part)
      if (text.includes('watched')) return text
    }
    return text
  })()
  await task.exec(['touch', 'watched'])
  expect(await seen).toContain('watched')
  leaving.abort()
})

withTwoUsers('a file request while the second process is away ends with a clear error, or works', async () => {
  const before = await handsNow()
  process.kill(before, 'SIGSTOP') // as the work could; but the end of its command would wait for the next one
  const answer = await task.fetch('/files/large')
  expect([answer.status, await answer.json()]).toMatchObject([503, { code: 'unavailable' }])
  await handsNow(before)
  expect((await task.fetch('/files/?stat=1')).status).toBe(200)
})

withTwoUsers('artifacts are read though the work locked them, and no link is followed', async () => {
  const script = 'umask 077; cd "$RCLAUDE_ARTIFACTS"; mkdir in; echo one > in/one; ln -s /etc/passwd link; : > empty'
  const { id } = await world.start({ command: ['sh', '-c', `${script}; sleep 1`] })
  await eventually('it has ended', async () => {
    const { state } = await world.api.call(routes.getTask, { params: { taskId: id } })
    return state === 'ended'
  })
  const { artifacts } = await world.api.call(routes.listArtifacts, { params: { taskId: id } })
  expect(artifacts.map(({ name, size }) => [name, size]).sort()).toEqual([
    ['empty', 0],
    ['in/one', 4],
  ])
})

const locked = async () => {
  await task.exec([
    'sh',
    '-c',
    'mkdir -p shut && printf "#!/bin/sh\\nid -u; pwd\\n" > shut/tool && chmod 755 shut/tool && chmod 700 shut',
  ])
  return { cwd: 'shut' }
}

withTwoUsers('commands run in folders that root may not enter, and fail there as they do elsewhere', async () => {
  const where = await locked()
  expect((await task.exec(['./tool'], where)).output).toBe(`${WORK_ID}\n${task.directory}/work/shut\n`)
  expect((await task.exec(['sh', '-c', 'exit 7'], where)).code).toBe(7)
  await expect(task.exec(['no-such-program'], where)).rejects.toThrow('program_missing')
  await task.exec(['touch', 'shut/plain'])
  await expect(task.exec(['./plain'], where)).rejects.toThrow('program_refused')
  await expect(task.exec(['true'], { cwd: 'shut/none' })).rejects.toThrow('is no directory of the workspace')
})

withTwoUsers('terminals too', async () => {
  const start = (argv: string[], cwd: string) =>
    task.fetch('/processes', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ argv, cwd, tty: { columns: 80, rows: 24 }, detached: true }),
    })
  const { cwd } = await locked()
  const started = await start(['./tool'], cwd)
  expect(started.status, await started.clone().text()).toBe(201)
  const { id } = (await started.json()) as { id: string }
  const output = await eventually('it has said all', async () => {
    const text = await (await task.fetch(`/processes/${id}/output`)).text()
    return text.includes('shut') && text
  })
  expect(output).toContain(`${WORK_ID}\r\n${task.directory}/work/shut`)
  expect(await (await start(['./none'], cwd)).json()).toMatchObject({ code: 'program_missing' })
})

const cli = (env: Record<string, string>, cwd: string, ...args: string[]) =>
  new Promise<{ code: unknown; output: string }>((done) => {
    const child = execFile(resolve('dist/rclaude.js'), args, { env, cwd }, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : error.code, output: stdout + stderr }),
    )
    child.stdin?.end()
  })

withTwoUsers('a coding agent works in a checkout, and another placement takes up files and conversation', async () => {
  const model = await startModelServer({
    script: ({ prompt, prompts, calls }) =>
      calls.length === 0
        ? bash(`umask 077; mkdir -p deep; echo '${prompt}' >> deep/log.txt`)
        : say(`So far: ${prompts.join(', ')}.`),
  })
  onTestFinished(() => model.close())
  const folder = temporaryDirectory()
  const git = (...args: string[]) => execFileSync('git', args, { cwd: folder, stdio: 'pipe' })
  git('init', '-q')
  git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '--allow-empty', '-m', 'first')
  const env = { ...world.env, ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: 'sk-ant-test-0123456789abcdef' }
  const first = await cli(env, folder, 'run', '--unsandboxed', 'first')
  expect(first.output).toContain('So far: first.')
  expect((await cli(env, folder, 'diff', '@last')).output).toContain('+first')
  const second = await cli(env, folder, 'continue', '--unsandboxed', '@last', 'second')
  expect(second.output).toContain('So far: first, second.')
  expect((await cli(env, folder, 'diff', '@last')).output).toContain('+second')
})

/** Somebody with a name and a shell, as SSH needs. */
const named = readFileSync('/etc/passwd', 'utf8')
  .split('\n')
  .map((line) => line.split(':'))
  .find(([, , uid, , , , shell]) => Number(uid) > 0 && /\/(ba)?sh$/.test(shell ?? ''))?.[0]
const hasSsh = existsSync('/usr/sbin/sshd') && existsSync('/usr/bin/ssh')
const canSsh = hasSsh && named !== undefined
if (!canSsh) console.log('ssh to work of another user is not tried: no OpenSSH, or no user but root has a shell')

withTwoUsers('ssh leads to the work, with files that root did not write', async () => {
  if (!canSsh) return
  const other = await startTwoUsers(CAPABILITIES, {}, named)
  try {
    const { id, directory } = await other.start()
    const ran = await cli(other.env, directory, 'ssh', id, '--', 'id -un; pwd; exit 7')
    expect(ran.output).toBe(`${named}\n${directory}/work\n`)
    expect(ran.code).toBe(7)
    const { uid } = statSync(join(directory, 'ssh'))
    expect(uid).toBeGreaterThan(0)
    await eventually('what the connection needed is gone', () => readdirSync(join(directory, 'ssh')).length === 2)
  } finally {
    await other.close()
  }
})
