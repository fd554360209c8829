/**
 * Every secret there is, as a canary, through real tasks that do their best to give it away: afterwards none is found in
 * what is said, stored, logged, passed as an argument or left in an environment. docs/security.md, "Secrets".
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bash, say } from '../../demo/model-server.ts'
import { routes } from '../../protocol/routes.ts'
import { type Canaries, newCanary, sightings, sightingsIn, watchProcesses } from '../helpers/canaries.ts'
import { eventually } from '../helpers/eventually.ts'
import { startPrivateGit } from '../helpers/private-git.ts'
import { makeRepository } from '../helpers/repository.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { tokenFor } from '../helpers/users.ts'
import { startWorld, type World } from '../helpers/world.ts'

const FOR_WORK = ['secret', 'model credential']

/** Says the secrets aloud, in every way and encoding, and puts them wherever the task can put something. */
const BLABBER = `
echo "$CANARY"; echo "$CANARY" >&2; echo "key $ANTHROPIC_API_KEY"
printf %s "$CANARY" | base64 -w0; echo
printf 'user:%s' "$CANARY" | base64 -w0; echo
node -e 'const c = process.env.CANARY
  console.log(JSON.stringify({ c }), encodeURIComponent(c), Buffer.from(c).toString("hex"), Buffer.from("ab" + c).toString("base64url"))
  process.stdout.write(c.slice(0, 20)); setTimeout(() => process.stdout.write(c.slice(20) + "\\n"), 300)'
echo fine > fine.txt
printf 'one\\ntwo\\nkey = %s\\n' "$CANARY" > leaked.txt
echo "$ANTHROPIC_API_KEY" > model-key.txt
printf %s "$CANARY" | base64 -w0 > leaked.b64
git add -A && printf 'with %s' "$CANARY" | git -c user.name=x -c user.email=x@y commit -qF -
cp leaked.txt "$RCLAUDE_ARTIFACTS/report.txt"; cp fine.txt "$RCLAUDE_ARTIFACTS/fine.txt"
`

/** The one-time code, from where the launcher puts it. */
async function joinCodeOf(world: World): Promise<string> {
  return await eventually('an agent was launched', () => {
    for (const pid of world.processes()) {
      const environment = quietly(`/proc/${pid}/environ`)
      const code = /RCLAUDE_JOIN_CODE=([^\0]+)/.exec(environment)?.[1]
      if (code !== undefined) return code
    }
    return undefined
  })
}

const quietly = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** Everything that can be asked about a task. */
async function said(world: World, canaries: Canaries, taskId: string): Promise<string[]> {
  const client = world.api()
  const texts: Array<[string, string]> = [
    ['task', JSON.stringify(await world.getTask(taskId))],
    ['events', JSON.stringify(await world.events(taskId))],
    ['audit', JSON.stringify(await client.call(routes.listAudit, { query: { limit: 100 } }))],
  ]
  for (const [name, path] of [
    ['patch', 'patch'],
    ['transcript', 'transcript?format=markdown'],
    ['artifacts', 'artifacts'],
    ['metrics', '/metrics'],
  ] as const) {
    const url = new URL(path.startsWith('/') ? path : `/v1/tasks/${taskId}/${path}`, world.url)
    const response = await fetch(url, { headers: { authorization: `Bearer ${world.adminToken}` } })
    texts.push([`${name} (${response.status})`, await response.text()])
  }
  return texts.flatMap(([where, text]) => sightings(canaries, where, text))
}

/** What lies on the gateway's disk: database and its log, repositories with all objects, artifacts, caches, its own log. */
const stored = (world: World, canaries: Canaries): string[] => [
  ...sightingsIn(canaries, world.data, (path) => path === 'admin-token' || path.startsWith('run/')),
  ...sightings(canaries, 'log of the gateway', world.gatewayLog),
]

test('a command that gives everything away leaves no secret anywhere', async () => {
  const canaries: Canaries = {
    secret: newCanary('secret', true),
    'model credential': newCanary('sk-ant'),
    'repo token': newCanary('repo'),
  }
  const server = await startPrivateGit({ user: 'x-access-token', token: canaries['repo token'] ?? '' })
  const world = await startWorld({ settings: { RCLAUDE_LOG__LEVEL: 'trace' } })
  stopTasksAfterwards(world)
  canaries['API token'] = await tokenFor(world, 'alice')
  canaries['admin token'] = world.adminToken
  const watch = watchProcesses(canaries, world.gatewayPid, (name) => FOR_WORK.includes(name))
  const user = { RCLAUDE_GATEWAY: world.url, RCLAUDE_TOKEN: canaries['API token'] ?? '' }
  const flags = ['--unsandboxed', '--json', '--keep', '60s', '--secret', 'CANARY', '--secret', 'ANTHROPIC_API_KEY']
  const clone = ['--repo', `${server.url}/project.git`, '--repo-token', 'REPO_TOKEN']
  const run = world.startCli(['run', ...flags, ...clone, '--', 'sh', '-c', BLABBER], {
    env: {
      ...user,
      CANARY: canaries.secret ?? '',
      ANTHROPIC_API_KEY: canaries['model credential'] ?? '',
      REPO_TOKEN: canaries['repo token'] ?? '',
    },
  })
  const joinCode = await joinCodeOf(world)
  const { stdout, stderr } = await run.result
  expect(sightings(canaries, 'what run printed', stdout + stderr)).toEqual([])
  const { tasks } = await world.api().call(routes.listTasks, { query: { limit: 1 } })
  const task = tasks[0]
  const id = task?.id ?? ''
  expect(task).toMatchObject({ state: 'running' }) // kept: the machine of the task is still there
  const result = task?.turns[0]?.result
  expect(result).toMatchObject({
    outcome: 'succeeded',
    incomplete: true,
    filesChanged: 1,
    withheld: [
      { path: 'leaked.b64', line: 1, secret: 'CANARY' },
      { path: 'leaked.txt', line: 3, secret: 'CANARY' },
      { path: 'model-key.txt', line: 1, secret: 'ANTHROPIC_API_KEY' },
    ],
  })
  expect(result?.message).toContain('report.txt (line 3 holds the secret CANARY)')
  // The agent's own part of the placement: what it says, and its logs and journals.
  const placement = join(world.data, 'run', id)
  expect(readdirSync(placement)).toContain('agent.log')
  const all: Canaries = { ...canaries, 'join code': joinCode }
  expect(sightingsIn(all, join(placement, 'state'))).toEqual([])
  expect(sightings(all, 'log of the agent', readFileSync(join(placement, 'agent.log')))).toEqual([])

  // People who step in beside the work get its secrets, and no others; nor can the agent's environment be read for them.
  const beside = await world.cli(['exec', id, '--', 'sh', '-c', 'env; cat /proc/$PPID/environ'], { env: user })
  expect(beside.stdout).toContain(canaries.secret)
  const { secret: _, 'model credential': __, 'join code': ___, ...forNobody } = all
  expect(Object.keys(forNobody)).toEqual(['repo token', 'API token', 'admin token'])
  expect(sightings(forNobody, 'what exec sees', beside.stdout)).toEqual([])

  await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  await world.ended(id)
  expect(await said(world, all, id)).toEqual([])
  expect(stored(world, all)).toEqual([])
  expect(readdirSync(join(world.data, 'run'))).toEqual([])
  expect(watch.seen()).toEqual([])
  expect(watch.looks()).toBeGreaterThan(10)

  const diff = await world.cli(['diff', id], { env: user })
  expect(diff.stdout).toContain('fine.txt')
  expect(diff.stderr).toContain('leaked.txt:3 holds the secret CANARY')
})

test('Claude Code that gives everything away leaves no secret anywhere', async () => {
  const canaries: Canaries = { secret: newCanary('secret', true), 'model credential': newCanary('sk-ant') }
  const world = await startWorld({
    settings: { RCLAUDE_LOG__LEVEL: 'trace' },
    script: ({ calls }) => {
      const [first] = calls
      return first === undefined
        ? bash(BLABBER, { text: `I know ${canaries.secret}` })
        : say(`It said ${first.result} and my key is ${canaries['model credential']}`)
    },
  })
  canaries['API token'] = await tokenFor(world, 'alice')
  const watch = watchProcesses(canaries, world.gatewayPid, (name) => FOR_WORK.includes(name))
  const folder = await makeRepository(world)
  const env = {
    RCLAUDE_GATEWAY: world.url,
    RCLAUDE_TOKEN: canaries['API token'] ?? '',
    CANARY: canaries.secret ?? '',
    ANTHROPIC_API_KEY: canaries['model credential'] ?? '',
  }
  const run = world.startCli(['run', '--unsandboxed', '--secret', 'CANARY', 'tell me everything'], { cwd: folder, env })
  const all = { ...canaries, 'join code': await joinCodeOf(world) }
  const { code, stdout, stderr } = await run.result
  expect({ code, stderr }).toMatchObject({ code: 0 })
  expect(stdout).toContain('***')
  expect(sightings(all, 'what run printed', stdout + stderr)).toEqual([])
  const { tasks } = await world.api().call(routes.listTasks, { query: { limit: 1 } })
  const id = tasks[0]?.id ?? ''
  expect(tasks[0]).toMatchObject({ state: 'ended', outcome: 'succeeded', incomplete: true })
  const withheld = tasks[0]?.turns[0]?.result?.withheld?.map(({ path }) => path)
  expect(withheld).toEqual(['leaked.b64', 'leaked.txt', 'model-key.txt'])
  for (const command of [
    ['apply', '--check', id],
    ['pull', id],
  ]) {
    const done = await world.cli(command, { cwd: folder, env })
    expect(done).toMatchObject({ code: 0 })
    expect(done.stderr).toContain('left out: leaked.txt:3 holds the secret CANARY')
  }
  expect(await said(world, all, id)).toEqual([])
  expect(stored(world, all)).toEqual([])
  expect(watch.seen()).toEqual([])
})

test('the looking itself finds what is there', () => {
  const canaries = { one: newCanary('one', true) }
  const value = canaries.one
  const forms = [
    value,
    JSON.stringify({ value }),
    `https://x.org/?q=${encodeURIComponent(value)}`,
    Buffer.from(value).toString('base64'),
    Buffer.from(`user:${value}`).toString('base64'),
    Buffer.from(`ab${value}c`).toString('base64url'),
  ]
  for (const form of forms) expect(sightings(canaries, 'here', `x ${form} y`)).toEqual(['here: one'])
})
