/** The far side belongs to whoever runs in the task: nothing that it says may leave the folder, or the lines of the terminal. */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { PLAIN } from '../../../cli/output.ts'
import type { Ask } from '../../../cli/sync/ask.ts'
import { detailsOf } from '../../../cli/sync/report.ts'
import { linkId } from '../../../host/tree/content.ts'
import { contents, makeFolders, write } from './folders.ts'

const sha = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`

interface Said {
  path: string
  id: string
  /** Instead of what the id is of. */
  bytes?: string
  size?: number
}

/** Says these files, and gives what it likes. */
function liar(
  said: readonly Said[],
  more: { skipped?: { path: string; why: string }[]; head?: object; tail?: string } = {},
): Ask {
  return async (route, body) => {
    const chunks: string[] = []
    if (route.name === 'syncManifest') {
      chunks.push(
        `${JSON.stringify({ digest: 'x', entries: said.length, unchanged: false, exists: true, skipped: more.skipped ?? [], ...more.head })}\n`,
      )
      for (const { path, id, size = 1 } of said) chunks.push(`${JSON.stringify({ path, id, mode: 0o777, size })}\n`)
    } else if (route.name === 'syncFetch') {
      const { paths } = JSON.parse(body.content as string) as { paths: string[] }
      for (const path of paths) {
        const one = said.find((each) => each.path === path)
        const bytes = one?.bytes ?? ''
        chunks.push(
          `${JSON.stringify({ id: one?.id, size: one?.size ?? bytes.length, mode: 0o777, mtimeMs: 0 })}\n${bytes}`,
        )
      }
      chunks.push(more.tail ?? '{"end":true}\n')
    }
    return (async function* () {
      for (const chunk of chunks) yield Buffer.from(chunk)
    })()
  }
}

it('writes nothing outside, nothing of git, and no link that leads out, whatever it is told', async () => {
  const { near, sync, between } = await makeFolders()
  const bad = [
    '../evil',
    '/tmp/rclaude-evil',
    'a/../../evil',
    './x',
    'a//b',
    '.git/hooks/post-checkout',
    'sub/.GiT/config',
    'x\u0000y',
    '.g\u200cit/config',
  ]
  const links = { l1: '/etc/passwd', l2: '../../x', l3: 'fine/../../x', '.git': 'x' }
  between.ask = liar([
    ...bad.map((path) => ({ path, id: sha('evil'), bytes: 'evil' })),
    ...Object.entries(links).map(([path, target]) => ({ path, id: linkId(target) })),
    { path: 'fine', id: sha('good'), bytes: 'good' },
    { path: 'ok/l', id: linkId('../fine'), size: 0 },
  ])
  const tally = await sync({ direction: 'from' })
  expect(contents(near)).toEqual({ fine: 'good', 'ok/l': '-> ../fine' })
  expect(tally.skipped).toHaveLength(bad.length + Object.keys(links).length)
})

it('does not follow a link in its own folder that leads out', async () => {
  const { near, sync, between } = await makeFolders()
  const outside = mkdtempSync(join(tmpdir(), 'rclaude-outside-'))
  onTestFinished(() => rmSync(outside, { recursive: true, force: true }))
  write(outside, { secret: 'secret' })
  symlinkSync(outside, join(near, 'out'))
  between.ask = liar([
    { path: 'out/secret', id: sha('evil'), bytes: 'evil' },
    { path: 'out/new', id: sha('evil'), bytes: 'evil' },
  ])
  const { conflicts } = await sync({ direction: 'from' })
  expect(conflicts.map(({ path }) => path)).toEqual(['out/new', 'out/secret'])
  expect(contents(outside)).toEqual({ secret: 'secret' })
})

it('is not led out by a folder that becomes a link while it is written to', async () => {
  const { near, far, sync } = await makeFolders()
  const outside = mkdtempSync(join(tmpdir(), 'rclaude-outside-'))
  onTestFinished(() => rmSync(outside, { recursive: true, force: true }))
  write(far, Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`d/f${i}`, `${i}`])))
  let isOver = false
  const swapping = (async () => {
    symlinkSync(outside, join(near, 'evil'))
    while (!isOver) {
      for (const [from, to] of [
        ['d', 'spare'],
        ['evil', 'd'],
        ['d', 'evil'],
        ['spare', 'd'],
      ] as const)
        try {
          renameSync(join(near, from), join(near, to))
        } catch {
          // not there yet
        }
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let time = 0; time < 5; time++) await sync({ direction: 'from' }).catch(() => {})
  isOver = true
  await swapping
  expect(readdirSync(outside)).toEqual([])
})

it('takes nothing whose bytes are not what was said, and keeps its own file', async () => {
  for (const size of [4, 700_000]) {
    const { near, sync, between } = await makeFolders()
    between.ask = liar([{ path: 'f', id: sha('said'), bytes: 'x'.repeat(size) }])
    const { conflicts } = await sync({ direction: 'from' })
    expect(conflicts).toMatchObject([{ path: 'f' }])
    expect(readdirSync(near)).toEqual([])
  }
})

it('gives up on an answer that is cut, strange or endless, and has lost nothing', async () => {
  const { near, sync, between } = await makeFolders()
  write(near, { mine: 'mine' })
  const good = (path: string) => ({ path, id: sha(path), bytes: path })
  const answers: [Ask, RegExp][] = [
    [liar([good('f1')], { tail: '' }), /unknown shape/],
    [liar([{ ...good('f2'), size: 1_000 }]), /ended in the middle of a file/],
    [liar([good('f3')], { head: { entries: 5 } }), /unknown shape/],
    [liar([good('f4')], { head: { digest: 7 } }), /unknown shape/],
    [liar([], { head: { digest: 'x'.repeat(9_000_000) } }), /too long/],
    [
      async () =>
        (async function* () {
          yield Buffer.from('nonsense\n')
        })(),
      /not JSON/,
    ],
  ]
  for (const [ask, words] of answers) {
    between.ask = ask
    await expect(sync({ direction: 'from' })).rejects.toThrow(words)
  }
  expect(readFileSync(join(near, 'mine'), 'utf8')).toBe('mine')
})

it('shows names and reasons in a way that cannot drive the terminal', async () => {
  const { sync, between } = await makeFolders()
  const why = 'x\u001b]0;title\u0007\r\nrclaude: all is well'
  between.ask = liar([], { skipped: [{ path: 'a\u001b[2Jb\nc', why }] })
  const lines = detailsOf(await sync({ direction: 'from' }), PLAIN, true)
  expect(lines).toHaveLength(1)
  expect(lines[0]).not.toMatch(/[\u0000-\u001f]/)
})

it('keeps two names apart that its disk takes for one', async () => {
  const { near, far, sync } = await makeFolders()
  write(far, { 'Read.me': 'one', 'read.ME': 'two', other: 'o' })
  const tally = await sync({}, { caseBlind: true })
  expect(tally.skipped).toEqual([{ path: 'read.ME', why: 'this disk takes it for Read.me' }])
  expect(contents(near)).toEqual({ 'Read.me': 'one', other: 'o' })
  expect(contents(far)).toEqual({ 'Read.me': 'one', 'read.ME': 'two', other: 'o' })
})

it('names what cannot travel on its own side', async () => {
  const { near, far, sync } = await makeFolders()
  mkdirSync(join(near, 'd'))
  symlinkSync('/etc/passwd', join(near, 'abs'))
  symlinkSync('../../up', join(near, 'd/up'))
  write(far, { abs: 'a file there' })
  const tally = await sync()
  expect(tally.skipped.map(({ path }) => path)).toEqual(['abs', 'd/up'])
  expect(contents(far)).toEqual({ abs: 'a file there' })
})
