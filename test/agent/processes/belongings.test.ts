/** What an agent that is root makes for the work, which may have put links where it is made. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { chmod, chown } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest'
import { giveDirectory, openedTo, removeOf, writeAs } from '../../../agent/processes/belongings.ts'
import { workerWithHands } from '../../helpers/hands.ts'

const work = { uid: 4321, gid: 4321 }
let root: string
let home: string

const asRoot = (what: string, test: () => Promise<void>) =>
  it(what, async (context: TestContext) => {
    if (process.getuid?.() !== 0) context.skip('only root can become another user')
    await test()
  })

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'rclaude-test-'))
  home = join(root, 'home')
  mkdirSync(home)
  if (process.getuid?.() !== 0) return
  await chmod(root, 0o755)
  await chown(home, work.uid, work.gid)
})
afterEach(() => rmSync(root, { recursive: true }))

describe('a folder', () => {
  asRoot('is made by the work, below a folder of the agent that is open to it for that time only', async () => {
    const user = await workerWithHands(work)
    const [made, link, target] = [join(root, 'made/deep'), join(root, 'link'), join(root, 'of-root')]
    mkdirSync(target)
    symlinkSync(target, link)
    await expect(giveDirectory(made, user)).rejects.toThrow()
    await openedTo(user, root, async () => {
      for (const path of [made, link]) await giveDirectory(path, user)
    })
    expect([lstatSync(made).uid, lstatSync(join(root, 'made')).uid]).toEqual([work.uid, work.uid])
    expect(lstatSync(target).uid).toBe(0)
    expect(lstatSync(root).mode & 0o7777).toBe(0o755)
    await removeOf(user, [made, join(root, 'none')])
    expect(existsSync(made)).toBe(false)
  })
})

describe('a file', () => {
  asRoot('is written as the work, which alone can read it', async () => {
    const file = join(home, '.config/rclaude/key')
    await writeAs(work, file, 'content')
    expect(readFileSync(file, 'utf8')).toBe('content')
    expect([lstatSync(file).uid, lstatSync(file).mode & 0o777]).toEqual([work.uid, 0o600])
    expect(lstatSync(join(home, '.config')).uid).toBe(work.uid)
  })

  asRoot('cannot be one of the agent, wherever a link of the work leads', async () => {
    const precious = join(root, 'precious')
    writeFileSync(precious, 'of root', { mode: 0o644 })
    symlinkSync(precious, join(home, 'key'))
    await expect(writeAs(work, join(home, 'key'), 'overwritten')).rejects.toThrow()
    expect(readFileSync(precious, 'utf8')).toBe('of root')
    expect(lstatSync(precious).uid).toBe(0)
    symlinkSync('/var', join(home, 'folder'))
    await expect(writeAs(work, join(home, 'folder/rclaude-test/key'), 'x')).rejects.toThrow()
    expect(existsSync('/var/rclaude-test')).toBe(false)
  })

  it('is written with its folders where there is one user for all', async () => {
    const file = join(home, 'a/b/key')
    await writeAs(undefined, file, 'content')
    expect(readFileSync(file, 'utf8')).toBe('content')
    expect(lstatSync(file).mode & 0o777).toBe(0o600)
  })
})
