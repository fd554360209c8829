/**
 * A repository that wants to run code where it has no business: on the gateway, and as the agent's daemon. Everything in
 * it that git would execute leaves a mark; the marks say what was executed.
 *
 * The agent and the work are one user under the process launcher, so a mark tells by its text who made it: a program
 * that runs below the daemon's own git has no RCLAUDE_ARTIFACTS in its environment, one that the work started has.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { type Header, pack } from 'tar-stream'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { git, startWorld, type World } from '../helpers/world.ts'

/** Git's hooks that could run on either side of a push, a fetch, a checkout or a commit. */
const HOOKS = [
  'pre-receive',
  'update',
  'post-receive',
  'post-update',
  'reference-transaction',
  'proc-receive',
  'push-to-checkout',
  'post-checkout',
  'post-merge',
  'pre-commit',
  'post-commit',
  'commit-msg',
  'pre-push',
  'post-index-change',
  'pre-auto-gc',
  'fsmonitor-watchman',
]

/** A program that says by whom it was run; without arguments it is a filter and passes its input on. */
const trap = (marker: string, name: string): string =>
  `#!/bin/sh\necho "${name} by \${RCLAUDE_ARTIFACTS:+work}" >> "${marker}"\n[ $# -gt 0 ] || cat\n`

/** Config lines with everything that names a program. */
const config = (program: string): string =>
  [
    `[core]\n\tfsmonitor = ${program}\n\thooksPath = ${program}.hooks\n\tsshCommand = ${program}\n\tpager = ${program}\n\teditor = ${program}\n\tgitProxy = ${program}\n\taskPass = ${program}\n\talternateRefsCommand = ${program}`,
    `[filter "evil"]\n\tclean = ${program}\n\tsmudge = ${program}\n\tprocess = ${program}\n\trequired = false`,
    `[diff "evil"]\n\ttextconv = ${program}\n\tcommand = ${program}`,
    `[diff]\n\texternal = ${program}`,
    `[merge "evil"]\n\tdriver = ${program}`,
    `[credential]\n\thelper = ${program}`,
    `[uploadpack]\n\tpackObjectsHook = ${program}`,
    `[gpg]\n\tprogram = ${program}\n[commit]\n\tgpgSign = true`,
    `[include]\n\tpath = ${program}.included`,
    '[protocol "ext"]\n\tallow = always\n[protocol]\n\tallow = always',
  ].join('\n')

const ATTRIBUTES = '* filter=evil diff=evil merge=evil\n'

interface Trap {
  marker: string
  program: string
}

/** The trap's program on disk, where both gateway and agent could reach it. */
function setTrap(world: World): Trap {
  const marker = join(world.directory, 'executed')
  const program = join(world.directory, 'trap.sh')
  writeFileSync(program, trap(marker, 'program'))
  chmodSync(program, 0o755)
  writeFileSync(`${program}.included`, `[core]\n\tfsmonitor = ${program}\n`)
  mkdirSync(`${program}.hooks`)
  for (const hook of HOOKS) {
    writeFileSync(join(`${program}.hooks`, hook), trap(marker, hook))
    chmodSync(join(`${program}.hooks`, hook), 0o755)
  }
  return { marker, program }
}

/** What ran outside the work. */
const executed = ({ marker }: Trap): string[] =>
  existsSync(marker)
    ? readFileSync(marker, 'utf8')
        .split('\n')
        .filter((line) => line !== '' && !line.endsWith(' by work'))
    : []

/** A repository with attributes that ask for every driver, and one commit. Made before its config turns hostile. */
async function makeHostileRepository(world: World, { program }: Trap): Promise<string> {
  const folder = join(world.directory, 'hostile')
  mkdirSync(folder)
  await git(folder, 'init', '-q', '-b', 'main')
  await git(folder, 'config', 'user.name', 'User')
  await git(folder, 'config', 'user.email', 'user@example.org')
  writeFileSync(join(folder, 'hello.txt'), 'hello\n')
  writeFileSync(join(folder, '.gitattributes'), ATTRIBUTES)
  writeFileSync(join(folder, '.gitmodules'), `[submodule "x"]\n\tpath = x\n\turl = ext::${program}\n`)
  writeFileSync(join(folder, '.lfsconfig'), config(program))
  await git(folder, 'add', '-A')
  await git(folder, 'commit', '-qm', 'first')
  return folder
}

/** The task's own script turns its workspace's repository, and a nested one, against whoever looks at it. */
function corrupt({ program }: Trap): string {
  return [
    `cat >> .git/config <<'END'\n${config(program)}\nEND`,
    `mkdir -p .git/hooks && cp "${program}.hooks"/* .git/hooks/`,
    `printf '%s' '${ATTRIBUTES}' > .git/info/attributes 2>/dev/null || { mkdir -p .git/info; printf '%s' '${ATTRIBUTES}' > .git/info/attributes; }`,
    'git init -q nested >/dev/null 2>&1',
    'echo inner > nested/inner.txt',
    `cat >> nested/.git/config <<'END'\n${config(program)}\nEND`,
    `mkdir -p nested/.git/hooks && cp "${program}.hooks"/* nested/.git/hooks/`,
    `printf 'gitdir: %s\\n' "$PWD/nested/.git" > linked.git`,
    'mkdir sub && printf "gitdir: ../nested/.git\\n" > sub/.git && echo below > sub/below.txt',
    `printf '%s' '${ATTRIBUTES}' > sub/.gitattributes`,
    'echo changed > hello.txt',
    'rm -f "$HOME/.gitconfig"',
    `cat > "$HOME/.gitconfig" <<'END'\n${config(program)}\nEND`,
  ].join('\n')
}

const delivered: Array<[how: string, deliver: (world: World, folder: string, task: Task) => Promise<void>]> = [
  [
    'a git bundle',
    async (world, folder, { id }) => {
      await git(folder, 'bundle', 'create', '-q', join(world.directory, 'it.bundle'), 'HEAD')
      await world.api().call(routes.putWorkspace, {
        params: { taskId: id },
        rawBody: readFileSync(join(world.directory, 'it.bundle')),
        headers: { 'content-type': 'application/x-git-bundle' },
      })
    },
  ],
  ['a git push', (world, folder, { id }) => push(world, folder, id)],
  [
    'a tar',
    async (world, folder, { id }) => {
      const files = ['hello.txt', '.gitattributes', '.gitmodules', '.lfsconfig']
      await upload(
        world,
        id,
        files.map((name) => [{ name }, readFileSync(join(folder, name), 'utf8')]),
      )
    },
  ],
]

test.each(delivered)(
  'a hostile repository that comes as %s executes nothing on the gateway or as the daemon',
  async (_how, deliver) => {
    const world = await startWorld({ settings: { RCLAUDE_INTERVALS__CHECKPOINT: '1s' } })
    const set = setTrap(world)
    const folder = await makeHostileRepository(world, set)
    const task = await world.createTask({
      agent: 'command',
      command: ['sh', '-c', `${corrupt(set)}\nsleep 3`],
      check: 'true',
      workspace: { kind: 'snapshot', project: 'hostile' },
    })
    await deliver(world, folder, task)
    const ended = await world.ended(task.id)
    expect(ended).toMatchObject({ outcome: 'succeeded', incomplete: false })
    expect(ended.workspace.checkpoint).toBeDefined() // it was saved while it worked as well
    const patch = await (await world.api().raw(routes.patch, { params: { taskId: task.id } })).text()
    expect(patch).toMatch(/^\+changed$/m)
    expect(patch).toMatch(/^\+inner$/m)
    await world
      .api()
      .call(routes.retryTask, { params: { taskId: task.id }, body: {} })
      .then(({ id }) => world.ended(id))
    const clone = join(world.directory, 'clone')
    const header = `http.extraHeader=Authorization: Bearer ${world.adminToken}`
    await git(
      world.directory,
      '-c',
      header,
      'clone',
      '-q',
      '-b',
      'result',
      `${world.url}/v1/tasks/${task.id}/git`,
      clone,
    )
    expect(readFileSync(join(clone, 'hello.txt'), 'utf8')).toBe('changed\n')
    expect(executed(set)).toEqual([])
  },
  90_000,
)

test('a .gitmodules that names a command is refused by the push itself', async () => {
  const world = await startWorld()
  const set = setTrap(world)
  const folder = await makeHostileRepository(world, set)
  writeFileSync(join(folder, '.gitmodules'), `[submodule "x"]\n\tpath = x\n\turl = x\n\tupdate = !${set.program}\n`)
  await git(folder, 'commit', '-qam', 'second')
  const { id } = await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } })
  await expect(push(world, folder, id)).rejects.toThrow(/gitmodulesUpdate/)
  expect(await world.getTask(id)).toMatchObject({ state: 'queued', waitingFor: 'workspace' })
})

test('the traps are real: git that trusts the workspace springs them', async () => {
  const world = await startWorld()
  const set = setTrap(world)
  const folder = await makeHostileRepository(world, set)
  writeFileSync(
    join(folder, '.git/config'),
    `${readFileSync(join(folder, '.git/config'), 'utf8')}\n${config(set.program)}`,
  )
  writeFileSync(join(folder, 'hello.txt'), 'changed\n')
  await git(folder, 'status').catch(() => '')
  await git(folder, 'diff').catch(() => '')
  await git(folder, 'add', '-A').catch(() => '')
  expect(executed(set).length).toBeGreaterThan(1)
})

test('a link in the workspace leads neither reading, writing nor deleting out of it', async () => {
  const world = await startWorld()
  stopTasksAfterwards(world)
  const outside = join(world.directory, 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'secret.txt'), 'secret\n')
  const script = [
    `ln -s "${outside}" dir`,
    `ln -s "${outside}/secret.txt" file`,
    `ln -s ../../../../../../../../..${outside} up`,
    'ln -s /proc/self/environ environ',
    'ln -s /proc/self/root proc',
    'ln -s loop loop',
    'touch ready && sleep 300',
  ].join('\n')
  const { id } = await world.createTask({
    agent: 'command',
    command: ['sh', '-c', script],
    workspace: { kind: 'none' },
  })
  const ask = async (method: string, path: string, body?: string) => {
    const response = await fetch(`${world.url}/v1/tasks/${id}/files/${path}`, {
      method,
      headers: { authorization: `Bearer ${world.adminToken}` },
      ...(body !== undefined && { body }),
    })
    return { status: response.status, text: await response.text() }
  }
  await eventually('the links are there', async () => (await ask('GET', 'ready')).status === 200)
  for (const path of [
    'file',
    'dir',
    'dir/secret.txt',
    'up/secret.txt',
    'environ',
    `proc${outside}/secret.txt`,
    'loop',
  ]) {
    const read = await ask('GET', path)
    expect([path, read.status >= 400 && read.status < 500]).toEqual([path, true])
    expect(read.text).not.toMatch(/secret\n|PATH=/)
  }
  for (const path of ['file', 'dir/new.txt', 'dir/secret.txt', 'up/new.txt', `proc${outside}/new.txt`])
    expect([path, (await ask('PUT', path, 'overwritten')).status]).toEqual([path, 403])
  expect((await ask('DELETE', 'dir/secret.txt')).status).toBe(403)
  expect((await ask('DELETE', 'file')).status).toBe(204) // the link itself
  expect(readFileSync(join(outside, 'secret.txt'), 'utf8')).toBe('secret\n')
  expect(existsSync(join(outside, 'new.txt'))).toBe(false)
})

test.each<[what: string, entry: Partial<Header> & { name: string }]>([
  ['leads out of its folder', { name: '../escape.txt' }],
  ['leads out of it further down', { name: 'a/../../escape.txt' }],
  ['is absolute', { name: '/tmp/escape.txt' }],
  ['brings hooks', { name: '.git/hooks/post-checkout' }],
  ['brings hooks in other letters', { name: '.GIT/hooks/post-checkout' }],
  ['brings hooks below', { name: 'sub/.git/config' }],
  ['brings hooks under a name that Windows shortens', { name: 'git~1/config' }],
  ['links to what is not in it', { name: 'hard', type: 'link', linkname: '../../etc/passwd' }],
  ['holds a device', { name: 'device', type: 'character-device', devmajor: 1, devminor: 1 }],
  ['holds a pipe', { name: 'pipe', type: 'fifo' }],
])('a tar that %s is refused, and the task goes on waiting', async (_what, entry) => {
  const world = await startWorld()
  const { id } = await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } })
  const content = entry.type === undefined ? 'x' : undefined
  await expect(
    upload(world, id, [
      [{ name: 'good.txt' }, 'good'],
      [entry, content],
    ]),
  ).rejects.toMatchObject({
    code: 'invalid',
    message: expect.stringContaining('refused'),
  })
  expect(await world.getTask(id)).toMatchObject({ state: 'queued', waitingFor: 'workspace' })
  await upload(world, id, [[{ name: 'good.txt' }, 'good']])
  expect(await world.ended(id)).toMatchObject({ outcome: 'succeeded' })
})

async function push(world: World, folder: string, taskId: string): Promise<void> {
  const header = `http.extraHeader=Authorization: Bearer ${world.adminToken}`
  await git(folder, '-c', header, 'push', '-q', `${world.url}/v1/tasks/${taskId}/git`, 'HEAD:refs/heads/snapshot')
}

async function upload(
  world: World,
  taskId: string,
  entries: Array<[Partial<Header> & { name: string }, string | undefined]>,
): Promise<void> {
  const tar = pack()
  for (const [header, content] of entries) {
    if (content === undefined) tar.entry(header)
    else tar.entry(header, content)
  }
  tar.finalize()
  await world.api().call(routes.putWorkspace, {
    params: { taskId },
    rawBody: await buffer(tar),
    headers: { 'content-type': 'application/x-tar' },
  })
}
