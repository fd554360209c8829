/** Trees that come as tar, read by the tar programs of this machine: names, links and times as they were, byte for byte. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TAR_END, tarHeader } from '../../../agent/files/tar-header.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'
import { closeSound, type Loopback, startLoopback } from './loopback.ts'

const READERS: Record<string, { argv: (folder: string) => string[]; env?: Record<string, string> }> = {
  tar: { argv: (folder) => ['tar', 'xp', '-C', folder] },
  'tar in the C locale': { argv: (folder) => ['tar', 'xp', '-C', folder], env: { LC_ALL: 'C' } },
  bsdtar: { argv: (folder) => ['bsdtar', '-xpf', '-', '-C', folder] },
  python3: {
    argv: (folder) => [
      'python3',
      '-c',
      'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(sys.argv[1])',
      folder,
    ],
  },
}

const NOBODY = 65_534

let agent: Loopback
beforeEach(async () => {
  agent = await startLoopback()
})
afterEach(() => closeSound(agent))

const bytes = (...parts: Array<string | number[]>) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))))
const below = (folder: string | Buffer, ...names: Buffer[]) =>
  names.reduce((path, name) => Buffer.concat([path, Buffer.from('/'), name]), Buffer.from(folder))
const fetchTar = async (path: string) =>
  Buffer.from(await (await fetch(`${agent.url}/files/${path}?format=tar`)).arrayBuffer())
const sendTar = (path: string, tar: Buffer) =>
  fetch(`${agent.url}/files/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-tar' },
    body: new Uint8Array(tar),
  })

/** Each path in hexadecimal, with what is there. */
function treeOf(folder: string): Record<string, string> {
  const tree: Record<string, string> = {}
  const look = (directory: Buffer, prefix: string) => {
    for (const name of readdirSync(directory, { encoding: 'buffer' })) {
      const path = below(directory, name)
      const key = `${prefix}/${name.toString('hex')}`
      const stats = lstatSync(path)
      if (stats.isSymbolicLink()) tree[key] = `-> ${readlinkSync(path, { encoding: 'buffer' }).toString('hex')}`
      else if (stats.isDirectory()) {
        tree[key] = 'directory'
        look(path, key)
      } else tree[key] = [stats.mode & 0o777, stats.mtimeMs, readFileSync(path, 'latin1')].join(' ')
    }
  }
  look(Buffer.from(folder), '')
  return tree
}

const LATIN1 = bytes('caf', [0xe9])
const LENGTHS = [1, 99, 100, 101, 155, 156, 254, 255]
const ODD_NAMES = [
  ...[bytes('plain'), bytes('café'), LATIN1, bytes('new\nline'), bytes([0xff]), bytes('a\\"$(x)'), bytes('-rf')],
  ...LENGTHS.map((length) => Buffer.alloc(length, 'n')),
  ...LENGTHS.map((length) => bytes('m'.repeat(length - 1), [0xe9])),
  ...LENGTHS.map((length) => bytes('é'.repeat(length / 2), 'e'.repeat(length % 2), length < 3 ? 'e' : '')),
]

/** All those names as files and as targets of links, at the top and in folders whose own paths are short, odd and long. */
function makeOddTree(root: string): void {
  const deep = (part: Buffer) => Array.from({ length: 4 }, () => bytes([...part], 'd'.repeat(80)))
  for (const folders of [[], [bytes('folder ', [...LATIN1])], deep(bytes('x')), deep(LATIN1), deep(bytes('é'))]) {
    const folder = below(root, bytes('in'), ...folders)
    mkdirSync(folder, { recursive: true })
    for (const [index, name] of ODD_NAMES.entries()) {
      const file = below(folder, name)
      writeFileSync(file, 'x'.repeat(index))
      chmodSync(file, index % 2 === 0 ? 0o640 : 0o755)
      utimesSync(file, 1_700_000_000 + index, 1_700_000_000 + index)
      symlinkSync(name, below(folder, bytes(`link ${index}`)))
      if (name.length < 250) symlinkSync(bytes('to ', [...name]), below(folder, bytes([0xfe], `${index}`)))
    }
  }
}

for (const [reader, { argv, env }] of Object.entries(READERS)) {
  const [program = ''] = argv('')
  const isThere = spawnSync(program, ['--version']).status === 0
  if (!isThere) console.log(`no tar is read by ${reader} here: ${program} is not installed`)

  test.skipIf(!isThere)(`names of any bytes and lengths, links and times arrive by ${reader}`, async () => {
    makeOddTree(agent.workspace)
    const here = temporaryDirectory()
    const [, ...args] = argv(here)
    const { status, stderr } = spawnSync(program, args, {
      input: await fetchTar('in'),
      env: { PATH: process.env.PATH, LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH, LC_ALL: 'C.UTF-8', ...env },
      encoding: 'utf8',
    })
    expect([status, stderr]).toEqual([0, ''])
    expect(treeOf(here)).toEqual(treeOf(join(agent.workspace, 'in')))
  })
}

test('what was fetched as tar goes back by the same bytes', async () => {
  makeOddTree(agent.workspace)
  const answer = await sendTar('out', await fetchTar('in'))
  expect(answer.status, await answer.clone().text()).toBe(201)
  expect(treeOf(join(agent.workspace, 'out'))).toEqual(treeOf(join(agent.workspace, 'in')))
})

test('any name that a disk takes comes out as it was', async () => {
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 255 })
    .map((array) => Buffer.from(array.map((byte) => (byte === 0 || byte === 0x2f ? 0x80 : byte))))
    .filter((one) => !['.', '..'].includes(one.toString('latin1')))
  const entries = fc.uniqueArray(fc.tuple(name, name), { selector: ([one]) => one.toString('hex'), maxLength: 20 })
  await fc.assert(
    fc.asyncProperty(entries, async (made) => {
      const [from, to] = [temporaryDirectory(), temporaryDirectory()]
      const pieces = made.map(([one, target]) =>
        tarHeader({ type: 'symlink', name: one, target, mode: 0o777, mtime: new Date(0) }),
      )
      for (const [one, target] of made) symlinkSync(target, below(from, one))
      execFileSync('tar', ['x', '-C', to], { input: Buffer.concat([...pieces, TAR_END]) })
      expect(treeOf(to)).toEqual(treeOf(from))
    }),
    { numRuns: 30 },
  )
})

test('a file of 8 GiB and more tells its size', () => {
  const size = 9 * 1024 ** 3
  const header = tarHeader({ type: 'file', name: bytes('large'), size, mode: 0o644, mtime: new Date(0) })
  expect(spawnSync('tar', ['tv'], { input: header, encoding: 'utf8' }).stdout).toContain(` ${size} `)
})

test('what cannot be read is left out, all else comes, and then every reader fails, so that nobody takes it for the whole', async () => {
  const root = join(agent.workspace, 'in')
  for (const folder of ['closed', 'open']) mkdirSync(join(root, folder), { recursive: true })
  for (const name of ['a', 'm', 'open/z', 'closed/f']) writeFileSync(join(root, name), name)
  for (const path of ['m', 'closed']) chmodSync(join(root, path), 0)
  const isRoot = process.getuid?.() === 0
  for (const path of [join(agent.workspace, '..'), agent.workspace]) chmodSync(path, 0o755)
  if (isRoot) process.seteuid?.(NOBODY) // whom modes hold for
  const tar = await fetchTar('in').finally(() => isRoot && process.seteuid?.(0))
  chmodSync(join(root, 'closed'), 0o755)
  for (const { argv } of Object.values(READERS)) {
    const here = temporaryDirectory()
    const [program = '', ...args] = argv(here)
    const { error, status } = spawnSync(program, args, { input: tar })
    if (error !== undefined) continue // not installed, which was said
    expect([program, status === 0]).toEqual([program, false])
    chmodSync(join(here, 'closed'), 0o755)
    expect(readdirSync(here, { recursive: true }).sort(), program).toEqual(['a', 'closed', 'open', 'open/z'])
  }
  expect((await sendTar('back', tar)).status).toBe(400)
})
