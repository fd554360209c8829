/** Moves, directories, links, trees as tar, uploads in parts: what a client may do to the tree, and what it may not. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DirectoryListing, FileStat, MAX_UPLOADS } from '../../../protocol/file.ts'
import { onSmallDisk } from '../../helpers/small-disk.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'
import { closeSound, type Loopback, startLoopback, until } from './loopback.ts'

let agent: Loopback
beforeEach(async () => {
  agent = await startLoopback()
})
afterEach(() => closeSound(agent))

const at = (path: string) => join(agent.workspace, path)
const call = (method: string, path: string, body?: string | Buffer, headers: Record<string, string> = {}) =>
  fetch(`${agent.url}/files/${path}`, {
    method,
    headers,
    ...(body !== undefined && { body: typeof body === 'string' ? body : new Uint8Array(body) }),
  })
const post = (path: string, operation: unknown) =>
  call('POST', path, JSON.stringify(operation), { 'content-type': 'application/json' })
const tarOf = async (...entries: Array<Record<string, unknown> & { name: string; text?: string }>) => {
  const archive = pack()
  for (const { text, ...header } of entries) archive.entry(header, text ?? '')
  archive.finalize()
  const pieces: Uint8Array[] = []
  for await (const piece of archive) pieces.push(piece as Uint8Array)
  return Buffer.concat(pieces)
}
const unpack = (path: string, archive: Buffer) => call('POST', path, archive, { 'content-type': 'application/x-tar' })

test('a file or a tree is moved, over another only when that is said', async () => {
  mkdirSync(at('d/e'), { recursive: true })
  writeFileSync(at('d/e/f'), '1')
  writeFileSync(at('g'), '2')
  expect((await post('d', { op: 'move', to: 'x' })).status).toBe(204)
  expect((await post('x/e/f', { op: 'move', to: 'g' })).status).toBe(412)
  expect(readFileSync(at('g'), 'utf8')).toBe('2')
  expect((await post('x/e/f', { op: 'move', to: 'g', overwrite: true })).status).toBe(204)
  expect(readFileSync(at('g'), 'utf8')).toBe('1')
  expect((await post('missing', { op: 'move', to: 'y' })).status).toBe(404)
  for (const to of ['../out', '/etc/x', '', 'a/../b'])
    expect((await post('g', { op: 'move', to })).status, to).toBe(400)
  expect((await post('x', { op: 'move', to: 'x/inside' })).status).toBe(400)
  const odd = Buffer.from([0x61, 0xff]).toString('base64')
  expect((await post('g', { op: 'move', toBase64: odd })).status).toBe(204)
  expect((await call('GET', 'a%FF')).status).toBe(200)
})

test('directories and symlinks are made, and what is there already is said', async () => {
  expect((await post('a/b', { op: 'mkdir' })).status).toBe(404)
  expect((await post('a/b', { op: 'mkdir', parents: true })).status).toBe(204)
  expect((await post('a/b', { op: 'mkdir', parents: true })).status).toBe(204)
  expect((await post('a/b', { op: 'mkdir' })).status).toBe(409)
  expect((await post('l', { op: 'symlink', target: 'a/b' })).status).toBe(204)
  const stat = FileStat.parse(await (await call('GET', 'l?stat=1')).json())
  expect(stat).toMatchObject({ name: 'l', type: 'symlink', target: 'a/b' })
  expect((await post('l', { op: 'nonsense' })).status).toBe(400)
})

test('nothing is moved or made behind a link that leads outside', async () => {
  const outside = temporaryDirectory()
  symlinkSync(outside, at('out'))
  writeFileSync(at('f'), '')
  expect((await post('out/d', { op: 'mkdir', parents: true })).status).toBe(403)
  expect((await post('f', { op: 'move', to: 'out/f' })).status).toBe(403)
  expect((await post('out/l', { op: 'symlink', target: 'x' })).status).toBe(403)
  expect(readdirSync(outside)).toEqual([])
})

test('a tree is deleted whole when that is said, without what its links point at', async () => {
  const outside = temporaryDirectory()
  writeFileSync(join(outside, 'kept'), '')
  mkdirSync(at('d/e'), { recursive: true })
  symlinkSync(outside, at('d/e/out'))
  writeFileSync(at('d/f'), '')
  expect((await call('DELETE', 'd')).status).toBe(409)
  expect((await call('DELETE', 'd?recursive=1')).status).toBe(204)
  expect([existsSync(at('d')), readdirSync(outside)]).toEqual([false, ['kept']])
})

test('a listing goes as deep as is asked', async () => {
  mkdirSync(at('a/b/c'), { recursive: true })
  writeFileSync(at('a/b/f'), '')
  const names = async (query: string) =>
    DirectoryListing.parse(await (await call('GET', `?${query}`)).json()).entries.map(({ in: where, name }) =>
      where === undefined ? name : `${where}/${name}`,
    )
  expect(await names('')).toEqual(['a'])
  expect(await names('depth=2')).toEqual(['a', 'a/b'])
  expect(await names('recursive=1')).toEqual(['a', 'a/b', 'a/b/c', 'a/b/f'])
})

test('a tree comes as tar that tar unpacks, and goes back the same way', async () => {
  mkdirSync(at('d/sub'), { recursive: true })
  writeFileSync(at('d/sub/f'), 'text')
  chmodSync(at('d/sub/f'), 0o750)
  writeFileSync(at('d/large'), Buffer.alloc(3_000_000, 'x'))
  symlinkSync('sub/f', at('d/l'))
  const archive = Buffer.from(await (await call('GET', 'd?format=tar')).arrayBuffer())
  const here = temporaryDirectory()
  execFileSync('tar', ['x', '-C', here], { input: archive })
  expect(readFileSync(join(here, 'l'), 'utf8')).toBe('text')
  expect(statSync(join(here, 'sub/f')).mode & 0o777).toBe(0o750)
  const made = execFileSync('tar', ['c', '-C', here, '.'], { maxBuffer: 10_000_000 })
  const answer = await unpack('new', made)
  expect([answer.status, await answer.json()]).toEqual([201, { files: 2, directories: 1, symlinks: 1 }])
  expect(readFileSync(at('new/l'), 'utf8')).toBe('text')
  expect(statSync(at('new/large')).size).toBe(3_000_000)
  expect(statSync(at('new/sub/f')).mtimeMs).toBeCloseTo(Math.floor(statSync(at('d/sub/f')).mtimeMs / 1_000) * 1_000, -3)
})

test('an archive leads nowhere else: not by names, not by links that it made itself, not by hard links or devices', async () => {
  const outside = temporaryDirectory()
  writeFileSync(at('secret'), 'kept')
  mkdirSync(at('d'))
  const hostile = [
    await tarOf({ name: '../secret', text: 'gone' }),
    await tarOf({ name: `${outside}/x`, text: 'gone' }),
    await tarOf({ name: 'up', type: 'symlink', linkname: '..' }, { name: 'up/secret', text: 'gone' }),
    await tarOf({ name: 'out', type: 'symlink', linkname: outside }, { name: 'out/x', text: 'gone' }),
    await tarOf({ name: 's', type: 'symlink', linkname: '../secret' }, { name: 's', text: 'gone' }),
    await tarOf({ name: 'h', type: 'link', linkname: '../secret' }),
    await tarOf({ name: 'dev', type: 'character-device', devmajor: 1, devminor: 5 }),
    await tarOf({ name: 'fifo', type: 'fifo' }),
  ]
  for (const [index, archive] of hostile.entries())
    expect((await unpack('d', archive)).status, String(index)).toBeGreaterThanOrEqual(400)
  expect((await unpack('d', Buffer.alloc(2_000, 'no tar'))).status).toBe(400)
  expect([readFileSync(at('secret'), 'utf8'), readdirSync(outside)]).toEqual(['kept', []])
})

const ID = 'upload_0123456789'
const part = (from: number, text: string, total: number, path = 'f') =>
  call('PUT', `${path}?upload=${ID}`, text, { 'content-range': `bytes ${from}-${from + text.length - 1}/${total}` })

test('an upload that was cut goes on where it ended, and the file takes its name with the last byte', async () => {
  writeFileSync(at('f'), 'old')
  const cut = request(`${agent.url}/files/f?upload=${ID}`, {
    method: 'PUT',
    headers: { 'content-length': '10', 'content-range': 'bytes 0-9/10' },
  })
  cut.on('error', () => {})
  cut.write('01234')
  const received = async () => ((await (await call('GET', `f?upload=${ID}`)).json()) as { received: number }).received
  await until(
    'half of it is here',
    () =>
      existsSync(join(agent.workspace, '../uploads', ID)) &&
      statSync(join(agent.workspace, '../uploads', ID)).size === 5,
  )
  cut.destroy()
  expect(await received()).toBe(5)
  expect([readFileSync(at('f'), 'utf8'), readdirSync(agent.workspace)]).toEqual(['old', ['f']])
  expect((await part(3, 'xx', 10)).status).toBe(409)
  expect((await part(5, '56', 10)).status).toBe(202)
  expect((await part(7, '789', 10)).status).toBe(200)
  expect(readFileSync(at('f'), 'utf8')).toBe('0123456789')
  expect(await received()).toBe(0)
})

test('who goes on with an upload ends the request before, which may hang on a connection that is dead', async () => {
  const hanging = request(`${agent.url}/files/f?upload=${ID}`, {
    method: 'PUT',
    headers: { 'content-length': '10', 'content-range': 'bytes 0-9/10' },
  })
  const answered = new Promise<number | undefined>((resolve) => {
    hanging.on('response', (response) => resolve(response.statusCode))
    hanging.on('error', () => resolve(undefined))
  })
  hanging.write('01234')
  const waiting = join(agent.workspace, '../uploads', ID)
  await until('half of it is here', () => existsSync(waiting) && statSync(waiting).size === 5)
  expect(await (await call('GET', `f?upload=${ID}`)).json()).toEqual({ received: 5 })
  expect(await answered).toBe(409)
  hanging.destroy()
  expect((await part(5, '56789', 10)).status).toBe(201)
})

test('an upload in parts keeps conditions, and refuses ids and ranges that make no sense', async () => {
  writeFileSync(at('f'), 'old')
  const range = { 'content-range': 'bytes 0-1/2' }
  expect((await call('PUT', `f?upload=${ID}`, 'xx', { ...range, 'if-match': '"other"' })).status).toBe(412)
  expect(readFileSync(at('f'), 'utf8')).toBe('old')
  expect((await call('DELETE', `f?upload=${ID}`)).status).toBe(204)
  expect((await call('PUT', 'f?upload=../../../../etc/x', 'xx', range)).status).toBe(400)
  expect((await call('PUT', `f?upload=${ID}`, 'xx')).status).toBe(400)
  expect((await call('PUT', `f?upload=${ID}`, 'xxx', range)).status).toBe(400)
})

test('a whole upload is moved to its place and not copied, and who asks for it meanwhile hears of no half state', async () => {
  expect((await part(0, '01234', 10)).status).toBe(202)
  const { ino } = statSync(join(agent.workspace, '../uploads', ID))
  const [last, received] = await Promise.all([part(5, '56789', 10), call('GET', `f?upload=${ID}`)])
  // Whichever came first: it took its place with all its bytes, or the question ended it and it goes on from what is there.
  const now = ((await received.json()) as { received: number }).received
  if (last.status === 409) expect((await part(now, '0123456789'.slice(now), 10)).status).toBe(201)
  else expect(last.status).toBe(201)
  expect([readFileSync(at('f'), 'utf8'), statSync(at('f')).ino]).toEqual(['0123456789', ino])
  expect(readdirSync(join(agent.workspace, '../uploads'))).toEqual([])
})

test('unfinished uploads have a bound', async () => {
  const begin = (i: number) =>
    call('PUT', `f?upload=${'a'.repeat(20)}${i}`, 'x', { 'content-range': 'bytes 0-0/2' }).then(({ status }) => status)
  for (let i = 0; i < MAX_UPLOADS; i++) expect(await begin(i)).toBe(202)
  expect(await begin(MAX_UPLOADS)).toBe(429)
  expect(await begin(0)).toBe(409) // it is there, with a byte
})

test('an upload in parts that fills the disk it waits on is answered 507, gone, and works again when there is room', async (test) => {
  await onSmallDisk(test, join(agent.workspace, '../uploads'), '1m', async (waiting) => {
    writeFileSync(at('f'), 'old')
    const full = await part(0, 'x'.repeat(3_000_000), 3_000_000)
    expect([full.status, ((await full.json()) as { code: string }).code]).toEqual([507, 'disk_full'])
    expect(readFileSync(at('f'), 'utf8')).toBe('old')
    expect(readdirSync(waiting)).toEqual([])
    const again = await new Promise((resolve, reject) => {
      // on a connection of its own: the answer came before the end of the body, so the other one is closed
      const headers = { 'content-range': 'bytes 0-2/3' }
      const put = request(`${agent.url}/files/f?upload=${ID}`, { method: 'PUT', headers, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      put.on('error', reject)
      put.end('new')
    })
    expect([again, readFileSync(at('f'), 'utf8')]).toEqual([200, 'new'])
  })
})

test('an upload in parts whose last byte finds the workspace full is answered 507 and leaves the old file alone', async (test) => {
  await onSmallDisk(test, at('disk'), '1m', async (disk) => {
    writeFileSync(join(disk, 'f'), 'old')
    expect((await part(0, 'x'.repeat(2_000_000), 3_000_000, 'disk/f')).status).toBe(202)
    const full = await part(2_000_000, 'x'.repeat(1_000_000), 3_000_000, 'disk/f')
    expect([full.status, ((await full.json()) as { code: string }).code]).toEqual([507, 'disk_full'])
    expect(readFileSync(join(disk, 'f'), 'utf8')).toBe('old')
    expect(readdirSync(disk)).toEqual(['f'])
    expect(readdirSync(join(agent.workspace, '../uploads'))).toEqual([])
  })
})

test('a tar that fills the disk is answered 507: what came before stays, the old file is untouched, nothing else is left', async (test) => {
  await onSmallDisk(test, at('disk'), '1m', async (disk) => {
    writeFileSync(join(disk, 'f'), 'old')
    const archive = await tarOf(
      { name: 'first', text: '1' },
      { name: 'f', text: 'x'.repeat(3_000_000) },
      { name: 'after', text: '2' },
    )
    const full = await unpack('disk', archive)
    expect([full.status, ((await full.json()) as { code: string }).code]).toEqual([507, 'disk_full'])
    expect(readFileSync(join(disk, 'f'), 'utf8')).toBe('old')
    expect(readdirSync(disk).sort()).toEqual(['f', 'first'])
  })
})

test('a tar of GNU tar keeps names and links that are not UTF-8, and a name that lost its bytes is refused', async () => {
  const from = temporaryDirectory()
  const name = Buffer.from([0x61, 0xff, 0xfe])
  const inside = (root: string, one: Buffer) => Buffer.concat([Buffer.from(`${root}/`), one])
  writeFileSync(inside(from, name), 'odd')
  writeFileSync(join(from, 'é'), 'usual')
  symlinkSync(name, join(from, 'link'))
  expect((await unpack('d', execFileSync('tar', ['-C', from, '--format=gnu', '-cf', '-', '.']))).status).toBe(201)
  expect(readFileSync(inside(at('d'), name), 'utf8')).toBe('odd')
  expect(readFileSync(at('d/é'), 'utf8')).toBe('usual')
  expect(readlinkSync(at('d/link'), { encoding: 'buffer' })).toEqual(name)
  expect((await unpack('e', await tarOf({ name: 'é', text: 'usual' }))).status).toBe(201)
  expect(readdirSync(at('e'))).toEqual(['é'])
  const lost = await unpack('g', await tarOf({ name: 'a\ufffd', text: 'x' }))
  expect([lost.status, await lost.text()]).toEqual([400, expect.stringContaining('--format=gnu')])
})
