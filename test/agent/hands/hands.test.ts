/** The agent's side of the second process, with processes that are honest, dead, loud or silent. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { claude } from '../../../agent/adapters/claude.ts'
import { CALLS } from '../../../agent/hands/calls.ts'
import { workFilesOf } from '../../../agent/hands/work-files.ts'
import { eventually } from '../../helpers/eventually.ts'
import { startHands, workerWithHands } from '../../helpers/hands.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const isRoot = process.getuid?.() === 0
/** Without root it is one user for both, which changes nothing of what is tried here. */
const user = { uid: isRoot ? 4321 : Number(process.getuid?.()), gid: isRoot ? 4321 : Number(process.getgid?.()) }
function homeOfWork(): string {
  const home = temporaryDirectory()
  chmodSync(home, 0o755)
  const project = join(home, '.claude/projects/-work')
  mkdirSync(join(project, 'abc'), { recursive: true })
  writeFileSync(join(project, 'abc.jsonl'), 'said\n')
  writeFileSync(join(project, 'abc/tool'), '')
  symlinkSync('/etc/passwd', join(project, 'abc/link'))
  execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, join(home, '.claude')])
  execFileSync('chmod', ['-R', 'go-rwx', join(home, '.claude')])
  return home
}

test('it reads what the work wrote: names without links, whole files, a clear refusal for the rest', async () => {
  const { hands } = await workerWithHands(user)
  const files = workFilesOf(hands)
  const home = homeOfWork()
  const names = await files.sessionFiles(claude, { home, cwd: '/work', sessionId: 'abc' })
  expect(names).toEqual(['.claude/projects/-work/abc.jsonl', '.claude/projects/-work/abc/tool'])
  expect((await files.below(join(home, '.claude'))).sort()).toEqual([
    'projects/-work/abc.jsonl',
    'projects/-work/abc/tool',
  ])
  const found = await files.open(join(home, names[0] ?? ''))
  expect([found.size, await text(found.content)]).toEqual([5, 'said\n'])
  expect(await text((await files.open(join(home, names[1] ?? ''))).content)).toBe('')
  const link = join(home, '.claude/projects/-work/abc/link')
  await expect(files.open(link)).rejects.toThrow('ELOOP')
  await expect(files.open(join(home, '.claude'))).rejects.toThrow('no regular file')
  await expect(files.open('/none')).rejects.toThrow('ENOENT')
})

test.each([
  { what: 'ends at once', script: 'exit 3' },
  { what: 'says nothing', script: 'exec sleep 60' },
  { what: 'talks without end', script: 'cat /dev/zero >&2 & exec cat /dev/urandom' },
  { what: 'speaks another protocol', script: 'exec yes "HTTP/1.1 200 OK"' },
])(
  'one that $what gives a clear error in time, and is started again and again',
  async ({ script }) => {
    const { hands, said } = startHands(user, ['/bin/sh', '-c', script], 500)
    const asked = Date.now()
    await expect(hands.call('marked', { name: 'A', value: 'b' })).rejects.toMatchObject({ code: 'unavailable' })
    expect(Date.now() - asked).toBeLessThan(3_000)
    await eventually('it was started anew', () => said.filter((line) => line.includes('started anew')).length >= 2)
    expect(said.join('').length).toBeLessThan(1_000_000)
  },
  30_000,
)

test('no name that it tells leads out of the folder that was asked for', () => {
  const { answer } = CALLS.filesBelow
  for (const name of ['../x', 'a/../../x', '/etc/passwd', 'a//b', '', '.', 'a\0b'])
    expect(answer.safeParse({ names: [name] }).success, JSON.stringify(name)).toBe(false)
  expect(answer.safeParse({ names: ['a/b..c/.d'] }).success).toBe(true)
})
