import { expect, test } from 'vitest'
import { findTask } from '../../cli/task-name.ts'
import { aTask, type Loopback, loopback, sendJson } from './support/loopback.ts'

const IDS = ['task_abcdefghjkmn', 'task_abcxxxxxxxxx', 'task_zzzzzzzzzzzz']

/** Lists one task a page. */
const gateway = (ids = IDS): Promise<Loopback> =>
  loopback((_, response, url) => {
    if (url.pathname === '/v1/me')
      return sendJson(response, { user: 'ana', role: 'member', tokenId: 'token_abcdefghjkmn', tokenName: 't' })
    const mine = url.searchParams.get('owner') === 'ana' ? ids.slice(1) : ids
    const at = Number(url.searchParams.get('cursor') ?? 0)
    const tasks = mine.slice(at, at + 1).map((id) => aTask({ id }))
    sendJson(response, { tasks, ...(at + 1 < mine.length && { nextCursor: String(at + 1) }) })
  })

test('a whole id is taken as it is, without asking', async () => {
  const { client, requests } = await gateway()
  expect(await findTask(client, 'task_222222222222')).toBe('task_222222222222')
  expect(requests).toEqual([])
})

test('a unique beginning is enough, with or without task_, on whatever page it is', async () => {
  const { client } = await gateway()
  expect(await findTask(client, 'z')).toBe('task_zzzzzzzzzzzz')
  expect(await findTask(client, 'task_abcd')).toBe('task_abcdefghjkmn')
})

test('an ambiguous beginning names the candidates', async () => {
  const { client } = await gateway()
  await expect(findTask(client, 'abc')).rejects.toMatchObject({
    code: 'invalid',
    message: expect.stringMatching(/task_abcdefghjkmn, task_abcxxxxxxxxx: give more letters/),
  })
})

test('what begins no id, and what cannot be one, is refused', async () => {
  const { client, requests } = await gateway()
  await expect(findTask(client, 'q')).rejects.toThrow('no task begins with "q"')
  const before = requests.length
  for (const name of ['', 'task_', '../x', 'TASK_A', 'abcdefghjkmnp']) {
    await expect(findTask(client, name)).rejects.toMatchObject({ code: 'invalid' })
  }
  expect(requests.length).toBe(before)
})

test('@last is the newest of this user, not of everyone', async () => {
  const { client } = await gateway()
  expect(await findTask(client, '@last')).toBe('task_abcxxxxxxxxx')
  const empty = await gateway([])
  await expect(findTask(empty.client, '@last')).rejects.toThrow('ana has no task')
})
