/** The real Vite behind a preview: its check of Host and Origin, its modules, and its hot reload, without any setting. */
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { startForwardingWorld } from '../helpers/forwarding.ts'
import { enter, visit } from '../helpers/previews.ts'
import { expectHotReload, startVite } from '../helpers/vite.ts'

const main = (text: string) => `export const text = "${text}"\nimport.meta.hot.accept()\n`

test('Vite serves its pages through a preview, and tells it of a changed file', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port, change } = await startVite({
    'index.html': '<script type="module" src="/main.js"></script>',
    'main.js': main('before'),
  })
  const { origin, cookie } = await enter(world, taskId, port)
  const get = (path: string) => visit(world, `${origin}${path}`, { headers: { cookie, accept: '*/*' } })
  expect((await get('/')).body).toContain('/@vite/client')
  expect((await get('/main.js')).body).toContain('"before"')
  const token = /wsToken = "([^"]+)"/.exec((await get('/@vite/client')).body)?.[1]
  expect(token).toBeDefined()

  const { host } = new URL(origin)
  const socket = new WebSocket(`ws://127.0.0.1:${new URL(world.url).port}/?token=${token}`, ['vite-hmr'], {
    headers: { host, origin, cookie },
  })
  await expectHotReload(socket, 'main.js', () => change('main.js', main('after')))
  expect((await get('/main.js')).body).toContain('"after"')
})
