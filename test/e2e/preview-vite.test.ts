/** The real Vite behind a preview: its check of Host and Origin, its modules, and its hot reload, without any setting. */
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { eventually } from '../helpers/eventually.ts'
import { startForwardingWorld } from '../helpers/forwarding.ts'
import { enter, visit } from '../helpers/previews.ts'
import { startVite } from '../helpers/vite.ts'

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
  onTestFinished(() => socket.terminate())
  const messages: string[] = []
  socket.on('message', (data) => messages.push(String(data)))
  await once(socket, 'open')
  await eventually('Vite greets', () => messages.some((text) => text.includes('"connected"')))
  change('main.js', main('after'))
  await eventually('the change is told', () => messages.some((text) => /"update".*main\.js/.test(text)))
  expect((await get('/main.js')).body).toContain('"after"')
})
