/** The real Vite behind a preview: its check of Host and Origin, its modules, and its hot reload, without any setting. */
import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'vite'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { eventually } from '../helpers/eventually.ts'
import { startForwardingWorld } from '../helpers/forwarding.ts'
import { freePort } from '../helpers/free-port.ts'
import { enter, visit } from '../helpers/previews.ts'

async function startVite() {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'rclaude-vite-')))
  const main = join(root, 'main.js')
  writeFileSync(join(root, 'index.html'), '<script type="module" src="/main.js"></script>')
  writeFileSync(main, 'export const text = "before"\nimport.meta.hot.accept()\n')
  const port = await freePort()
  const server = { port, strictPort: true, host: '127.0.0.1' }
  const vite = await createServer({
    root,
    server,
    configFile: false,
    logLevel: 'silent',
    cacheDir: join(root, 'cache'),
  })
  onTestFinished(async () => {
    await vite.close()
    rmSync(root, { recursive: true, force: true })
  })
  await vite.listen()
  return { port, main }
}

test('Vite serves its pages through a preview, and tells it of a changed file', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port, main } = await startVite()
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
  writeFileSync(main, 'export const text = "after"\nimport.meta.hot.accept()\n')
  await eventually('the change is told', () => messages.some((text) => /"update".*main\.js/.test(text)))
  expect((await get('/main.js')).body).toContain('"after"')
})
