import { expect, test } from 'vitest'
import { directoriesOf, workEnvironment } from '../../../agent/run/environment.ts'

const base = (own: NodeJS.ProcessEnv) => ({ own, directories: directoriesOf('/p'), taskId: 'task', launchId: 'launch' })
const PROXY = 'http://proxy.example.org:3128'

test("the work finds the agent's proxy under both names, and loopback without it", () => {
  const work = workEnvironment(
    base({ HTTPS_PROXY: PROXY, NO_PROXY: 'a', GIT_SSL_CAINFO: '/p/ca.pem', OTHER: 'x' }),
    undefined,
  )
  expect(work).toMatchObject({ https_proxy: PROXY, HTTPS_PROXY: PROXY, GIT_SSL_CAINFO: '/p/ca.pem' })
  expect(work.no_proxy).toBe('a,localhost,127.0.0.1,::1')
  expect(work).not.toHaveProperty('OTHER')
})

test("a proxy that the task names takes the place of the agent's, whichever form either has", () => {
  const own = base({ https_proxy: PROXY })
  const other = workEnvironment(own, { env: { HTTPS_PROXY: 'http://other:1' }, secrets: {} })
  expect(other).toMatchObject({ https_proxy: 'http://other:1', HTTPS_PROXY: 'http://other:1' })
  const none = workEnvironment(own, { env: { HTTPS_PROXY: '' }, secrets: {} })
  expect(none.https_proxy).toBeUndefined()
  expect(none.HTTPS_PROXY).toBe('')
})

test('without a proxy no variable is made up', () => {
  expect(Object.keys(workEnvironment(base({}), undefined)).filter((name) => /proxy/i.test(name))).toEqual([])
})
