import { execFileSync } from 'node:child_process'
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DirectoryListing, WrittenFile } from '../../../protocol/file.ts'
import { onSmallDisk } from '../../helpers/small-disk.ts'
import { type Loopback, startLoopback, until } from './loopback.ts'

let agent: Loopback
let outside: string

beforeEach(async () => {
  agent = await startLoopback()
  outside = await mkdtemp(join(tmpdir(), 'rclaude-outside-'))
  await writeFile(join(outside, 'secret'), 'secret')
})
afterEach(async () => {
  const { faults } = agent
  await agent.close()
  await rm(outside, { recursive: true, force: true })
  expect(faults).toEqual([])
})

const at = (path: string) => join(agent.workspace, path)
const get = (path: string, headers: Record<string, string> = {}) => fetch(`${agent.url}/files/${path}`, { headers })
const put = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  fetch(`${agent.url}/files/${path}`, { method: 'PUT', body: new Uint8Array(Buffer.from(body)), headers })
const remove = (path: string, headers: Record<string, string> = {}) =>
  fetch(`${agent.url}/files/${path}`, { method: 'DELETE', headers })
const codeOf = async (response: Response) => ((await response.json()) as { code: string }).code

/** The path exactly as written: fetch would tidy it. */
function rawGet(path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request(agent.url, { path }, async (response) => {
      let body = ''
      for await (const chunk of response) body += chunk
      resolve({ status: response.statusCode ?? 0, body })
    })
    call.on('error', reject)
    call.end()
  })
}

describe('GET /files', () => {
  it('gives a file whole, in ranges, or not at all when the client has it', async () => {
    await writeFile(at('f'), '0123456789')
    const whole = await get('f')
    expect(whole.headers.get('content-length')).toBe('10')
    expect(await whole.text()).toBe('0123456789')
    const etag = whole.headers.get('etag') ?? ''
    expect((await get('f', { 'if-none-match': etag })).status).toBe(304)
    expect((await get('f', { 'if-none-match': '"other"' })).status).toBe(200)

    const ranges: [string, number, string, string | null][] = [
      ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
      ['bytes=7-', 206, '789', 'bytes 7-9/10'],
      ['bytes=-3', 206, '789', 'bytes 7-9/10'],
      ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
      ['bytes=10-', 416, '', 'bytes */10'],
      ['bytes=4-2', 200, '0123456789', null],
      ['bytes=0-1,3-4', 200, '0123456789', null],
    ]
    for (const [range, status, text, contentRange] of ranges) {
      const part = await get('f', { range })
      expect([range, part.status, await part.text(), part.headers.get('content-range')]).toEqual([
        range,
        status,
        text,
        contentRange,
      ])
    }
    expect((await get('f', { range: 'bytes=2-4', 'if-range': etag })).status).toBe(206)
    expect((await get('f', { range: 'bytes=2-4', 'if-range': '"old"' })).status).toBe(200)
  })

  it('changes the ETag with every change, of the same size too', async () => {
    const tags = new Set<string>()
    for (const text of ['aaa', 'bbb', 'ccc']) tags.add(WrittenFile.parse(await (await put('f', text)).json()).etag)
    tags.add((await get('f')).headers.get('etag') ?? '')
    expect(tags.size).toBe(3)
  })

  it('answers HEAD without a body and keeps no file open', async () => {
    await writeFile(at('f'), Buffer.alloc(1_000_000))
    const openFiles = async () => (await readdir('/proc/self/fd')).length
    await (await get('f')).arrayBuffer()
    const before = await openFiles()
    for (let i = 0; i < 50; i++) {
      const head = await fetch(`${agent.url}/files/f`, { method: 'HEAD' })
      expect([head.status, head.headers.get('content-length'), (await head.arrayBuffer()).byteLength]).toEqual([
        200,
        '1000000',
        0,
      ])
      await get('missing').then((response) => response.arrayBuffer())
    }
    expect(await openFiles()).toBeLessThan(before + 10)
  })

  it('sends an empty file, and a large one byte for byte', async () => {
    await writeFile(at('empty'), '')
    expect(await (await get('empty')).text()).toBe('')
    const large = Buffer.alloc(20_000_000, 'pattern ')
    await writeFile(at('large'), large)
    expect(Buffer.from(await (await get('large')).arrayBuffer()).equals(large)).toBe(true)
  })

  it('lists a directory, and the workspace itself', async () => {
    await mkdir(at('d'))
    await writeFile(at('d/file'), 'xyz', { mode: 0o640 })
    await chmod(at('d/file'), 0o640)
    await symlink('file', at('d/link'))
    const { entries } = DirectoryListing.parse(await (await get('d/')).json())
    expect(entries).toEqual([
      expect.objectContaining({ name: 'file', type: 'file', size: 3, mode: 0o640 }),
      expect.objectContaining({ name: 'link', type: 'symlink', target: 'file' }),
    ])
    for (const path of ['', '/']) {
      const root = DirectoryListing.parse(await (await fetch(`${agent.url}/files${path}`)).json())
      expect(root.entries.map(({ name }) => name)).toEqual(['d'])
    }
  })

  it('knows odd names: newline, percent, quote, and bytes that are not UTF-8', async () => {
    for (const path of ['a%0Ab', '100%25', 'it%27s%20%22q%22', '%FF%FEx', 'h%C3%A9', '-rf', 'q%3Fx', '%E2%98%83%FF']) {
      expect((await put(path, path)).status, path).toBe(201)
      expect(await (await get(path)).text(), path).toBe(path)
    }
    const { entries } = DirectoryListing.parse(await (await fetch(`${agent.url}/files/`)).json())
    expect(entries.map(({ name }) => name)).toContain('a\nb')
    expect(entries.map(({ nameBase64 }) => nameBase64)).toContain(Buffer.from([0xff, 0xfe, 0x78]).toString('base64'))
    expect(entries).toHaveLength(8)
    expect((await remove('%FF%FEx')).status).toBe(204)
    expect((await get('%FF%FEx')).status).toBe(404)
  })

  it('refuses names that could mean another path', async () => {
    await writeFile(at('f'), 'x')
    for (const path of ['/files/a%2Fb', '/files/a%00', '/files/a//f', '/files/%2e%2e/f', '/files/./f'])
      expect((await rawGet(path)).status, path).toBeGreaterThanOrEqual(400)
    const answer = await rawGet(`/files/../../../../../../../../etc/passwd`)
    expect(answer.body).not.toContain('root:')
  })

  it('follows links that stay inside', async () => {
    await mkdir(at('a/b'), { recursive: true })
    await writeFile(at('a/f'), 'inside')
    await symlink('../f', at('a/b/up'))
    await symlink(at('a'), at('absolute'))
    await symlink('absolute/b/up', at('chain'))
    for (const path of ['a/b/up', 'absolute/f', 'chain']) expect(await (await get(path)).text(), path).toBe('inside')
    expect((await put('absolute/new', 'n')).status).toBe(201)
    expect(await readFile(at('a/new'), 'utf8')).toBe('n')
  })

  it('refuses links that lead outside, for reading, writing and deleting behind them', async () => {
    await symlink(outside, at('dir'))
    await symlink(join(outside, 'secret'), at('file'))
    await symlink(join('..', '..', outside, 'secret'), at('relative'))
    await symlink('loop', at('loop'))
    for (const path of ['dir', 'dir/secret', 'file', 'relative', 'dir/new']) {
      expect((await get(path)).status, path).toBe(403)
      expect((await put(path, 'overwritten')).status, path).toBe(403)
    }
    expect((await remove('dir/secret')).status).toBe(403)
    expect((await get('loop')).status).toBe(400)
    expect((await remove('file')).status).toBe(204) // the link itself
    expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret')
    expect(await readdir(outside)).toEqual(['secret'])
  })

  it('is not led out by a directory that turns into a link and back all the time', async () => {
    await mkdir(at('d'))
    await writeFile(at('d/secret'), 'inside')
    await symlink(outside, at('evil'))
    let isOver = false
    const swapping = (async () => {
      for (let i = 0; !isOver; i++) {
        await rename(at('d'), at('spare')).catch(() => {})
        await rename(at('evil'), at('d')).catch(() => {})
        await rename(at('d'), at('evil')).catch(() => {})
        await rename(at('spare'), at('d')).catch(() => {})
        if (i % 8 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    const seen = new Map<string, number>()
    for (let i = 0; i < 300; i++) {
      const response = await get('d/secret')
      const text = response.status === 200 ? await response.text() : String(response.status)
      seen.set(text, (seen.get(text) ?? 0) + 1)
      await (await put('d/written', 'w')).arrayBuffer()
    }
    isOver = true
    await swapping
    expect(seen.get('secret')).toBeUndefined()
    expect(seen.get('inside')).toBeGreaterThan(0)
    expect(await readdir(outside)).toEqual(['secret'])
  })

  it('refuses fifos and devices without waiting on them', async () => {
    execFileSync('mkfifo', [at('fifo')])
    expect((await get('fifo')).status).toBe(415)
    expect((await put('fifo', 'x')).status).toBe(415)
    try {
      execFileSync('mknod', [at('device'), 'c', '1', '5'], { stdio: 'pipe' })
    } catch {
      return // only root can make one
    }
    expect((await get('device')).status).toBe(415)
  })

  it('answers 404 for what is not there, and for what is below a file', async () => {
    await writeFile(at('f'), 'x')
    for (const path of ['missing', 'missing/deep', 'f/below']) {
      const response = await get(path)
      expect([path, response.status, await codeOf(response)]).toEqual([path, 404, 'not_found'])
    }
    expect((await get('x'.repeat(300))).status).toBe(400)
  })
})

describe('PUT /files', () => {
  it('makes a file and its parents, and keeps the mode of one that is there', async () => {
    const created = await put('a/b/c', 'one')
    expect(created.status).toBe(201)
    expect(WrittenFile.parse(await created.json())).toMatchObject({ size: 3, mode: 0o644 })
    await chmod(at('a/b/c'), 0o755)
    const replaced = await put('a/b/c', 'two!')
    expect([replaced.status, (await stat(at('a/b/c'))).mode & 0o777]).toEqual([200, 0o755])
    expect(await readFile(at('a/b/c'), 'utf8')).toBe('two!')
    await put('a/b/c?mode=0600', 'three')
    expect((await stat(at('a/b/c'))).mode & 0o777).toBe(0o600)
    expect((await put('x?mode=9', '')).status).toBe(400)
    expect(await readdir(at('a/b'))).toEqual(['c'])
  })

  it('replaces the file behind a link, not the link', async () => {
    await writeFile(at('real'), 'old')
    await symlink('real', at('link'))
    expect((await put('link', 'new')).status).toBe(200)
    expect((await lstat(at('link'))).isSymbolicLink()).toBe(true)
    expect(await readFile(at('real'), 'utf8')).toBe('new')
  })

  it('does not write through a hard link', async () => {
    await writeFile(at('one'), 'old')
    await link(at('one'), at('two'))
    await put('one', 'new')
    expect(await readFile(at('two'), 'utf8')).toBe('old')
  })

  it('keeps conditions: If-Match, and If-None-Match: *', async () => {
    const first = WrittenFile.parse(await (await put('f', 'one', { 'if-none-match': '*' })).json())
    const again = await put('f', 'two', { 'if-none-match': '*' })
    expect([again.status, await codeOf(again)]).toEqual([412, 'precondition'])
    expect((await put('f', 'two', { 'if-match': '"old"' })).status).toBe(412)
    expect((await put('f', 'two', { 'if-match': first.etag })).status).toBe(200)
    expect((await put('f', 'three', { 'if-match': first.etag })).status).toBe(412)
    expect((await put('g', 'x', { 'if-match': '*' })).status).toBe(412)
    expect((await remove('f', { 'if-match': first.etag })).status).toBe(412)
    expect(await readFile(at('f'), 'utf8')).toBe('two')
    expect(await readdir(agent.workspace)).toEqual(['f'])
  })

  it('lets only one of many uploads with the same condition win', async () => {
    const { etag } = WrittenFile.parse(await (await put('f', 'base')).json())
    const matching = await Promise.all(Array.from({ length: 8 }, (_, i) => put('f', `${i}`, { 'if-match': etag })))
    expect(matching.filter(({ status }) => status === 200)).toHaveLength(1)
    const creating = await Promise.all(
      Array.from({ length: 8 }, (_, i) => put('new', `${i}`, { 'if-none-match': '*' })),
    )
    expect(creating.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(await readdir(agent.workspace)).toEqual(['f', 'new'])
  })

  it('leaves the old file and nothing else when the client vanishes in the middle', async () => {
    await writeFile(at('f'), 'old')
    for (const headers of [{ 'content-length': '1000000' }, {}]) {
      const call = request(`${agent.url}/files/f`, { method: 'PUT', headers })
      call.on('error', () => {})
      call.write(Buffer.alloc(300_000))
      await until('the upload is under way', async () => (await readdir(agent.workspace)).length === 2)
      call.destroy()
      await until('the temporary file is gone', async () => (await readdir(agent.workspace)).length === 1)
      expect(await readFile(at('f'), 'utf8')).toBe('old')
    }
  })

  it('answers 507 when the disk is full, keeps the old file, and removes its temporary one', async (test) => {
    await onSmallDisk(test, at('disk'), '1m', async (disk) => {
      await writeFile(join(disk, 'f'), 'old')
      const full = await put('disk/f', Buffer.alloc(3_000_000))
      expect([full.status, await codeOf(full)]).toEqual([507, 'disk_full'])
      expect(await readFile(join(disk, 'f'), 'utf8')).toBe('old')
      expect(await readdir(disk)).toEqual(['f'])
    })
  })

  it('refuses to replace a directory', async () => {
    await mkdir(at('d'))
    expect((await put('d', 'x')).status).toBe(409)
    expect((await put('', 'x')).status).toBe(409)
  })
})

describe('DELETE /files', () => {
  it('deletes a file, a link and an empty directory, and nothing more', async () => {
    await mkdir(at('d/sub'), { recursive: true })
    await writeFile(at('f'), 'x')
    await symlink('f', at('l'))
    expect((await remove('l')).status).toBe(204)
    expect(await readFile(at('f'), 'utf8')).toBe('x')
    expect((await remove('d')).status).toBe(409)
    expect((await remove('d/sub')).status).toBe(204)
    expect((await remove('d')).status).toBe(204)
    expect((await remove('f')).status).toBe(204)
    expect((await remove('f')).status).toBe(404)
    expect((await remove('')).status).toBe(409)
    expect(await readdir(agent.workspace)).toEqual([])
  })
})
