import { describe, expect, it } from 'vitest'
import { otherUser, workerOf } from '../../../agent/processes/user.ts'

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'work:x:1000:1001::/home/work:/bin/sh',
  'db:x:70:71::/var/db:/bin/sh',
  'broken:x:none',
  '',
].join('\n')
const work = { uid: 1000, gid: 1001 }
const root = { uid: 0, passwd }

describe('another user', () => {
  it('is none when it is the one that the work has anyway, by name or number', async () => {
    for (const name of ['work', '1000']) expect(await otherUser(name, work, [], root)).toBeUndefined()
    expect(await otherUser('root', undefined, [], root)).toBeUndefined()
    expect(await otherUser('1000', undefined, [], { uid: 1000, passwd: '' })).toBeUndefined()
  })

  it('is refused unless the gateway names it, root too, and whether it exists is not told', async () => {
    for (const name of ['root', '0', 'db', '70', 'nobody-like-this', 'broken'])
      await expect(otherUser(name, work, [], root), name).rejects.toMatchObject({
        code: 'forbidden',
        message: `--user ${name} is not allowed here: processes run as work; an administrator can add it to agents.execUsers`,
      })
    await expect(otherUser('root', work, ['db'], root)).rejects.toMatchObject({ code: 'forbidden' })
  })

  it('is had when it is named, with the group and the home of its own', async () => {
    const db = { user: { uid: 70, gid: 71 }, env: { USER: 'db', LOGNAME: 'db', HOME: '/var/db' } }
    expect(await otherUser('db', work, ['db'], root)).toEqual(db)
    expect(await otherUser('70', work, ['db'], root)).toEqual(db)
    expect(await otherUser('db', work, ['70'], root)).toEqual(db)
    expect((await otherUser('0', work, ['root'], root))?.user).toEqual({ uid: 0, gid: 0 })
  })

  it('is refused whatever is configured where the agent is not root', async () => {
    for (const name of ['root', 'db'])
      await expect(otherUser(name, undefined, ['root', 'db'], { uid: 1000, passwd }), name).rejects.toMatchObject({
        code: 'forbidden',
        message: `--user ${name}: this task's agent is not root and runs everything as work; leave --user out`,
      })
  })

  it('is invalid when it is allowed and there is no such user', async () => {
    for (const name of ['gone', 'broken', '4242'])
      await expect(otherUser(name, work, [name], root), name).rejects.toMatchObject({ code: 'invalid' })
  })
})

describe('the user of the work', () => {
  it('is known by name or number, and need not be in the list of users', async () => {
    expect(await workerOf('work', root)).toEqual({ name: 'work', uid: 1000, gid: 1001 })
    expect(await workerOf('1000', root)).toEqual({ name: 'work', uid: 1000, gid: 1001 })
    expect(await workerOf('work:5', root)).toEqual({ name: 'work', uid: 1000, gid: 5 })
    expect(await workerOf('4321', root)).toEqual({ name: 'user4321', uid: 4321, gid: 4321 })
  })

  it('is the agent itself unless another is named', async () => {
    for (const wanted of [undefined, '', '0', 'root']) expect(await workerOf(wanted, root)).toBeUndefined()
    expect(await workerOf('work', { uid: 1000, passwd })).toBeUndefined()
  })

  it('is refused when there is none, or when the agent cannot become it', async () => {
    await expect(workerOf('nobody-like-this', root)).rejects.toThrow('there is no such user')
    await expect(workerOf('work:wheel', root)).rejects.toThrow('there is no such user')
    await expect(workerOf('work', { uid: 70, passwd })).rejects.toThrow('start the container as root')
  })
})
