/**
 * Every route of the table and every upgrade, asked by everyone who could ask: who is let in, who is turned away with
 * what, and where a row in the audit log stands afterwards. A route that is added without a line here does not compile.
 */
import { expect, test } from 'vitest'
import { Problem } from '../../protocol/errors.ts'
import { newLaunchId, newTaskId } from '../../protocol/ids.ts'
import { LISTEN_PROTOCOL, PORT_PROTOCOL } from '../../protocol/port.ts'
import { ATTACH_PROTOCOL } from '../../protocol/process.ts'
import { type Role, roleAllows } from '../../protocol/route.ts'
import { type Routes, routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { head, rawConnection, statuses, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { startWorld, type World } from '../helpers/world.ts'

type RouteName = keyof Routes

interface Sample {
  /** Which of alice's tasks; `running` unless said. */
  task?: 'running' | 'ended'
  /** For the path's `*`. */
  rest?: string
  query?: string
  body?: string
  type?: string
  /** WebSocket subprotocol, when it is not that of attach. */
  protocol?: string
  /** For the path, beside those of the scene. */
  params?: Record<string, string>
  /** Status for those who are let in. A refusal that only somebody who was let in can see counts as well. */
  allowed: number
}

const json = (value: unknown): Pick<Sample, 'body' | 'type'> => ({
  body: JSON.stringify(value),
  type: 'application/json',
})
const quick = { argv: ['true'] }

const samples: Record<RouteName, Sample> = {
  health: { allowed: 200 },
  ready: { allowed: 200 },
  openapi: { allowed: 200 },
  metrics: { allowed: 200 },
  info: { allowed: 200 },
  hold: { allowed: 200 },
  confirmRestore: { ...json({}), allowed: 200 },
  listPlacements: { allowed: 200 },
  stopPlacement: { params: { launchId: newLaunchId() }, allowed: 404 },
  sweepPlacements: { ...json({ dryRun: true }), allowed: 200 },
  diagnoseLauncher: { ...json({}), params: { launcher: 'process' }, allowed: 400 },
  me: { allowed: 200 },
  limits: { allowed: 200 },
  createTask: { ...json({ agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } }), allowed: 201 },
  listTasks: { allowed: 200 },
  getTask: { allowed: 200 },
  taskHealth: { allowed: 200 },
  stopTask: { task: 'ended', ...json({}), allowed: 202 },
  deleteTask: { allowed: 409 },
  pruneTasks: { ...json({ dryRun: true }), allowed: 200 },
  retryTask: { ...json({}), allowed: 409 },
  continueTask: { ...json({ prompt: 'more' }), allowed: 409 },
  renewLease: { allowed: 204 },
  releaseLease: { allowed: 204 },
  events: { allowed: 200 },
  patch: { task: 'ended', allowed: 200 },
  transcript: { allowed: 200 },
  listArtifacts: { task: 'ended', allowed: 200 },
  getArtifact: { task: 'ended', rest: 'made.txt', allowed: 200 },
  putWorkspace: { body: 'x', type: 'application/x-tar', allowed: 409 },
  gitRefs: { query: 'service=git-upload-pack', allowed: 200 },
  gitUploadPack: { body: '0000', type: 'application/x-git-upload-pack-request', allowed: 200 },
  gitReceivePack: { body: '0000', type: 'application/x-git-receive-pack-request', allowed: 409 },
  listProcesses: { allowed: 200 },
  sshUser: { allowed: 200 },
  openSsh: { ...json({ publicKey: 'no key' }), allowed: 400 },
  startProcess: { ...json(quick), allowed: 201 },
  exec: { ...json(quick), allowed: 200 },
  attachNew: { query: `spec=${Buffer.from(JSON.stringify(quick)).toString('base64url')}`, allowed: 101 },
  attach: { allowed: 101 },
  getProcess: { rest: ':processId', allowed: 200 },
  changeProcess: { rest: ':processId/signal', ...json({ signal: 'SIGCONT' }), allowed: 200 },
  writeProcess: { rest: ':processId/stdin', body: '', type: 'application/octet-stream', allowed: 200 },
  stopProcess: { rest: ':endedProcessId', allowed: 200 },
  listPorts: { allowed: 200 },
  connectPort: { protocol: PORT_PROTOCOL, allowed: 101 },
  listenPort: { protocol: LISTEN_PROTOCOL, params: { port: '0' }, allowed: 101 },
  takeUpConnection: { protocol: PORT_PROTOCOL, params: { connectionId: 'conn_222222222222' }, allowed: 410 },
  openPreview: { ...json({}), allowed: 200 },
  listPreviews: { allowed: 200 },
  endPreviews: { allowed: 200 },
  getFile: { rest: 'hello.txt', allowed: 200 },
  putFile: { rest: 'new.txt', body: 'new', allowed: 200 },
  changeFile: { rest: 'made', ...json({ op: 'mkdir', parents: true }), allowed: 204 },
  deleteFile: { rest: 'never-there.txt', allowed: 404 },
  syncManifest: { ...json({}), allowed: 200 },
  syncApply: { body: '{"folder":""}\n{"op":"end"}\n', type: 'application/octet-stream', allowed: 200 },
  syncFetch: { ...json({ paths: ['hello.txt'] }), allowed: 200 },
  listShares: { allowed: 200 },
  share: { ...json({ access: 'read' }), allowed: 200 },
  unshare: { allowed: 204 },
  createToken: { ...json({ name: 'x', user: 'x', role: 'viewer' }), allowed: 201 },
  listTokens: { allowed: 200 },
  rotateToken: { ...json({}), allowed: 404 },
  revokeToken: { allowed: 404 },
  listAudit: { allowed: 200 },
  listModels: { allowed: 200 },
  putModel: { ...json({ kind: 'bedrock', region: 'eu-central-1' }), allowed: 200 },
  checkModel: { allowed: 200 },
  deleteModel: { allowed: 204 },
}

interface Caller {
  name: string
  token: string | undefined
  user?: string
  /** Undefined for tokens that are none. */
  role?: Role
  /** May see alice's tasks. */
  sees: boolean
  /** They are shared with this user. */
  share?: 'read' | 'write'
}

interface Scene {
  world: World
  params: Record<string, string>
  tasks: Record<'running' | 'ended', string>
}

test('every route and every upgrade lets in whom its line in the table names, and leaves the audit row it names', async () => {
  const world = await startWorld()
  const callers = await makeCallers(world)
  const scene = await makeScene(world, tokenOf(callers, 'member, owner'))
  await shareWith(scene, callers)
  const expectedRows = new Map<string, { action: string; user: string | undefined } | undefined>()
  const wrong: string[] = []

  for (const name of Object.keys(samples) as RouteName[]) {
    for (const caller of callers) {
      const seen = await ask(scene, name, caller.token)
      const expected = expectedStatus(name, caller)
      if (!expected.includes(seen.status)) wrong.push(`${name} as ${caller.name}: ${seen.status}, not ${expected}`)
      if (seen.status >= 400) expect(Problem.parse(JSON.parse(seen.body)).requestId, name).toBe(seen.requestId)
      const audit = 'audit' in routes[name] ? (routes[name] as { audit: string }).audit : undefined
      const isLetIn = caller.role !== undefined && expected.includes(samples[name].allowed) && isAllowed(name, caller)
      expectedRows.set(seen.requestId, isLetIn && audit ? { action: audit, user: caller.user } : undefined)
    }
  }

  expect(wrong).toEqual([])
  const { rows } = await world.api().call(routes.listAudit, { query: { limit: 500 } })
  const rowsOf = (requestId: string) =>
    rows.filter((row) => row.requestId === requestId).map(({ action, user }) => ({ action, user }))
  for (const [requestId, expected] of expectedRows) expect(rowsOf(requestId)).toEqual(expected ? [expected] : [])
  const row = rows.find(({ action }) => action === 'process.exec')
  expect(row).toMatchObject({
    address: '127.0.0.1',
    taskId: scene.tasks.running,
    detail: expect.stringContaining('/v1/'),
  })
}, 120_000)

test("a viewer may only look, tokens and the audit log are the administrator's, every change is audited", () => {
  const all = Object.values(routes).map((route) => ({ audit: undefined, forward: undefined, ...route }))
  const names = (access: string) => all.filter((route) => route.access === access).map(({ name }) => name)
  expect(names('admin')).toEqual([
    'metrics',
    'hold',
    'confirmRestore',
    'listPlacements',
    'stopPlacement',
    'sweepPlacements',
    'diagnoseLauncher',
    'createToken',
    'rotateToken',
    'listTokens',
    'revokeToken',
    'listAudit',
  ])
  expect(names('public')).toEqual(['health', 'ready', 'openapi'])
  for (const { name, method, access, forward } of all.filter((route) => route.access === 'viewer')) {
    expect([name, forward]).toEqual([name, undefined])
    expect([name, method, access]).toEqual([name, name === 'gitUploadPack' ? 'POST' : 'GET', 'viewer'])
  }
  const unaudited = all.filter(({ method, audit }) => method !== 'GET' && audit === undefined)
  expect(unaudited.map(({ name }) => name)).toEqual(['renewLease', 'gitUploadPack']) // signs of life; git reads by POST
})

test("another's task answers exactly like a task that never was, on every route", async () => {
  const world = await startWorld()
  const callers = await makeCallers(world)
  const scene = await makeScene(world, tokenOf(callers, 'member, owner'))
  const bob = tokenOf(callers, 'member, another')
  const never = newTaskId()
  const nowhere: Scene = { ...scene, tasks: { running: never, ended: never } }
  const names = (Object.keys(routes) as RouteName[]).filter((name) => routes[name].path.includes(':taskId'))
  expect(names.length).toBeGreaterThan(25)
  for (const name of names) {
    const foreign = await ask(scene, name, bob)
    const absent = await ask(nowhere, name, bob)
    const task = scene.tasks[samples[name].task ?? 'running']
    const comparable = (answer: Answer, taskId: string) =>
      answer.body.replaceAll(taskId, 'TASK').replaceAll(answer.requestId, 'REQUEST')
    expect([foreign.status, comparable(foreign, task)], name).toEqual([404, comparable(absent, never)])
    expect(foreign.headerNames, name).toEqual(absent.headerNames)
  }
})

test('HEAD is held to the same rules as GET', async () => {
  const world = await startWorld()
  const callers = await makeCallers(world)
  const { tasks } = await makeScene(world, tokenOf(callers, 'member, owner'))
  const ask = async (name: string, path: string) => {
    const response = await fetch(`${world.url}${path}`, {
      method: 'HEAD',
      headers: { authorization: `Bearer ${tokenOf(callers, name)}` },
    })
    return response.status
  }
  const file = `/v1/tasks/${tasks.running}/files/hello.txt`
  expect(await ask('member, owner', file)).toBe(200)
  expect(await ask('viewer', file)).toBe(403)
  expect(await ask('member, another', file)).toBe(404)
  expect(await ask('revoked', file)).toBe(401)
  expect(await ask('viewer', '/v1/tokens')).toBe(403)
})

function isAllowed(name: RouteName, { role, sees, share }: Caller): boolean {
  const { access, path } = routes[name]
  if (access === 'public') return true
  if (role === undefined || !roleAllows(role, access)) return false
  if (!path.includes(':taskId')) return true
  if (share !== undefined && isOwnerOnly(name)) return false
  return sees && (share !== 'read' || access === 'viewer')
}

const isOwnerOnly = (name: RouteName): boolean => 'ownerOnly' in routes[name]

function expectedStatus(name: RouteName, caller: Caller): number[] {
  const { access } = routes[name]
  if (isAllowed(name, caller)) return name === 'putFile' ? [200, 201] : [samples[name].allowed]
  if (caller.role === undefined) return [401]
  if (access !== 'public' && !roleAllows(caller.role, access)) return [403]
  if (caller.share !== undefined) return [403] // who sees it is told that it is not for them
  return [404]
}

const tokenOf = (callers: Caller[], name: string): string =>
  callers.find((caller) => caller.name === name)?.token ?? 'missing'

async function makeCallers(world: World): Promise<Caller[]> {
  const make = async (user: string, role: Role, expiresInSeconds?: number) =>
    world.api().call(routes.createToken, { body: { name: `${user} ${role}`, user, role, expiresInSeconds } })
  const [readers, writers, lookers] = await Promise.all([
    make('carol', 'member'),
    make('dave', 'member'),
    make('erin', 'viewer'),
  ])
  const [owner, viewer, another, revoked, expired] = await Promise.all([
    make('alice', 'member'),
    make('alice', 'viewer'),
    make('bob', 'member'),
    make('alice', 'member'),
    make('alice', 'member', 1),
  ])
  await world.api().call(routes.revokeToken, { params: { tokenId: revoked.token.id } })
  await eventually('the token has expired', async () => {
    const response = await fetch(`${world.url}/v1/me`, { headers: { authorization: `Bearer ${expired.secret}` } })
    return response.status === 401
  })
  const admin = await world.api().call(routes.me)
  return [
    { name: 'no token', token: undefined, sees: false },
    { name: 'wrong', token: 'rct_0000000000000000000000000000000000000000000', sees: false },
    { name: 'expired', token: expired.secret, sees: false },
    { name: 'revoked', token: revoked.secret, sees: false },
    { name: 'viewer', token: viewer.secret, user: 'alice', role: 'viewer', sees: true },
    { name: 'member, owner', token: owner.secret, user: 'alice', role: 'member', sees: true },
    { name: 'member, another', token: another.secret, user: 'bob', role: 'member', sees: false },
    { name: 'member, shared to read', token: readers.secret, user: 'carol', role: 'member', sees: true, share: 'read' },
    {
      name: 'member, shared to write',
      token: writers.secret,
      user: 'dave',
      role: 'member',
      sees: true,
      share: 'write',
    },
    {
      name: 'viewer, shared to write',
      token: lookers.secret,
      user: 'erin',
      role: 'viewer',
      sees: true,
      share: 'write',
    },
    { name: 'admin', token: world.adminToken, user: admin.user, role: 'admin', sees: true },
  ]
}

async function shareWith({ world, tasks }: Scene, callers: Caller[]): Promise<void> {
  const owner = world.api(tokenOf(callers, 'member, owner'))
  for (const { user = '', share } of callers.filter((caller) => caller.share !== undefined))
    for (const taskId of Object.values(tasks))
      await owner.call(routes.share, { params: { taskId, user }, body: { access: share ?? 'read' } })
}

async function makeScene(world: World, owner: string): Promise<Scene> {
  stopTasksAfterwards(world)
  const create = async (script: string) => {
    const command = ['sh', '-c', script]
    const task = await world.createTask({ agent: 'command', command, workspace: { kind: 'snapshot' } }, owner)
    await uploadFiles(world, task.id, { 'hello.txt': 'hello\n' })
    return task.id
  }
  const running = await create('sleep 300')
  const ended = await create('echo changed > hello.txt; echo made > "$RCLAUDE_ARTIFACTS/made.txt"')
  await world.state(running, 'running')
  await world.ended(ended)
  const start = async (argv: string[]) => {
    const response = await world.api(owner).raw(routes.startProcess, {
      params: { taskId: running },
      rawBody: JSON.stringify({ argv, stdin: true }),
      headers: { 'content-type': 'application/json' },
    })
    return ((await response.json()) as { id: string }).id
  }
  const endedProcessId = await start(['true'])
  const processId = await start(['sleep', '299'])
  await eventually('the workspace is there', async () => {
    const file = world.api(owner).raw(routes.getFile, { params: { taskId: running, rest: 'hello.txt' } })
    return (await file.catch(() => undefined))?.ok
  })
  return {
    world,
    tasks: { running, ended },
    params: {
      processId,
      endedProcessId,
      port: new URL(world.url).port,
      tokenId: 'token_222222222222',
      user: 'zoe',
      name: 'mine',
    },
  }
}

const webSocketHeaders = (protocol: string): string[] =>
  WEBSOCKET_HEADERS.map((line) => line.replace(ATTACH_PROTOCOL, protocol))

interface Answer {
  status: number
  body: string
  requestId: string
  headerNames: string[]
}

async function ask(scene: Scene, name: RouteName, token: string | undefined): Promise<Answer> {
  const { method, path, ...route } = routes[name]
  const { task = 'running', rest = '', query, body, type, protocol, ...sample } = samples[name]
  const params: Record<string, string> = { ...scene.params, ...sample.params, taskId: scene.tasks[task] }
  const fill = (text: string) => text.replace(/:(\w+)/g, (_, key: string) => params[key] ?? '')
  const target = `${fill(path).replace(/\*$/, fill(rest))}${query === undefined ? '' : `?${query}`}`
  if ('upgrade' in route) return upgrade(scene.world.url, target, token, protocol)
  const response = await fetch(`${scene.world.url}${target}`, {
    method,
    headers: { ...(token && { authorization: `Bearer ${token}` }), ...(type && { 'content-type': type }) },
    ...(body !== undefined && { body }),
  })
  const text = await response.text()
  return {
    status: response.status,
    body: text,
    requestId: response.headers.get('rclaude-request-id') ?? '',
    headerNames: [...response.headers.keys()].filter((header) => header !== 'date'),
  }
}

async function upgrade(
  url: string,
  target: string,
  token: string | undefined,
  protocol = ATTACH_PROTOCOL,
): Promise<Answer> {
  const connection = await rawConnection(url)
  const authorization = token === undefined ? [] : [`Authorization: Bearer ${token}`]
  connection.send(head(url, `GET ${target} HTTP/1.1`, ...webSocketHeaders(protocol), ...authorization))
  const received = await connection.until(/\r\n\r\n(?:\{.*\}$)?/s)
  const isUpgraded = statuses(received)[0] === 101
  const all = isUpgraded ? received : await connection.closed()
  connection.socket.destroy()
  const [top = '', body = ''] = all.split('\r\n\r\n', 2)
  return {
    status: statuses(all)[0] ?? 0,
    body,
    requestId: /rclaude-request-id: (\S+)/i.exec(top)?.[1] ?? '',
    headerNames: top
      .split('\r\n')
      .slice(1)
      .map((line) => line.split(':', 1)[0] ?? ''),
  }
}
