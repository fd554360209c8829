/** `rclaude cp` and what is not UTF-8: left out by name, and everything else is copied. */
import { readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { download } from '../../cli/files/download.ts'
import { RemoteFiles } from '../../cli/files/remote.ts'
import { upload } from '../../cli/files/upload.ts'
import { type Loopback, startLoopback } from '../agent/http/loopback.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { makeFolders } from './sync/folders.ts'

let agent: Loopback
beforeEach(async () => {
  agent = await startLoopback()
})
afterEach(() => agent.close())

/** The agent's files without a gateway between. */
const remote = () =>
  new RemoteFiles(
    {
      raw: (
        { method }: { method: string },
        {
          params,
          query,
          headers,
          rawBody,
        }: {
          params: { rest: string }
          query: Record<string, string>
          headers: Record<string, string>
          rawBody: NonNullable<RequestInit['body']>
        },
      ) =>
        fetch(`${agent.url}/files/${encodeURI(params.rest)}?${new URLSearchParams(query)}`, {
          method: method.toUpperCase(),
          headers,
          body: rawBody,
          duplex: 'half',
        } as RequestInit & { duplex: 'half' }),
    } as never,
    'task_test',
  )

function fill(folder: string) {
  writeFileSync(Buffer.concat([Buffer.from(`${folder}/bad`), Buffer.from([0xff])]), 'x')
  symlinkSync(Buffer.from([0xfe]), join(folder, 'link'))
  for (const name of ['a', 'z']) writeFileSync(join(folder, name), name)
}

test('both ways, a name or link that is not UTF-8 is left out with a word and the rest is copied', async () => {
  const failed: string[] = []
  const transfer = {
    progress: { expect() {}, add() {}, resume() {}, clear() {} } as never,
    warn: (text: string) => void failed.push(text),
    failed: (path: string, error: unknown) => void failed.push(`${path}: ${(error as Error).message}`),
  }
  const here = temporaryDirectory()
  fill(here)
  await upload(remote(), transfer, here, 'd')
  expect(readdirSync(join(agent.workspace, 'd'))).toEqual(['a', 'z'])

  fill(agent.workspace)
  const back = join(temporaryDirectory(), 'back')
  await download(remote(), transfer, '', back)
  expect(readdirSync(back)).toEqual(['a', 'd', 'z'])

  expect(failed).toEqual(
    [join(here, 'bad\ufffd'), join(here, 'link'), 'bad\ufffd', 'link'].map((path) =>
      expect.stringMatching(new RegExp(`^${path}: its (name|target) is not UTF-8`)),
    ),
  )
})

test('sync, which the message names, carries both', async () => {
  const { near, far, sync } = await makeFolders()
  fill(near)
  await sync()
  const bytesIn = (folder: string) => readdirSync(folder, { encoding: 'buffer' }).sort(Buffer.compare)
  expect(bytesIn(far)).toEqual(bytesIn(near))
  expect(readlinkSync(join(far, 'link'), { encoding: 'buffer' })).toEqual(Buffer.from([0xfe]))
})
