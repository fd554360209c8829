/** Previews on a wildcard domain behind Caddy, by the files of deploy/compose, with a private authority on loopback. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, get } from 'node:https'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { routes } from '../../protocol/routes.ts'
import { CHROMIUM, openBrowser } from '../helpers/chromium.ts'
import { idleTask, textOf } from '../helpers/forwarding.ts'
import { freePort } from '../helpers/free-port.ts'
import type { Answer } from '../helpers/previews.ts'
import { hasOpenssl, makePrivateCa } from '../helpers/private-ca.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { expectHotReload, startVite } from '../helpers/vite.ts'
import { startWebServer } from '../helpers/web-server.ts'
import { startWorld, World } from '../helpers/world.ts'

const DOMAIN = 'preview.gateway.test'
const hasCaddy = spawnSync('caddy', ['version']).error === undefined
if (!hasCaddy) console.log('previews behind Caddy are not tried: caddy is not installed')

const PAGE = '<title>mine</title><p id="text">nothing yet</p><script type="module" src="/main.js"></script>'
const main = (text: string) =>
  `document.querySelector('#text').textContent = ${JSON.stringify(text)}\nimport.meta.hot.accept()\n`

/** Asked by the test itself past Caddy, whose authority this process does not know. */
class WorldBehind extends World {
  override get url(): string {
    return `http://127.0.0.1:${this.settings.RCLAUDE_LISTEN__PORT}`
  }
}

/** A gateway whose way in, for clients, agents and browsers, is Caddy; Vite in a task of it; and the link to that. */
async function startBehindCaddy() {
  const ca = makePrivateCa()
  const [port, ownPort] = [await freePort(), await freePort()]
  const url = `https://localhost:${port}`
  const upstream = `127.0.0.1:${ownPort}`
  const world = new WorldBehind({
    RCLAUDE_LISTEN__PORT: String(ownPort),
    RCLAUDE_PUBLIC_URL: url,
    RCLAUDE_PREVIEWS__DOMAIN: DOMAIN,
    RCLAUDE_LISTEN__TRUSTED_PROXIES: '[127.0.0.1]',
    NODE_EXTRA_CA_CERTS: ca.file,
  })
  await startWorld({ world })
  const directory = join(world.directory, 'caddy')
  mkdirSync(directory)
  const tls = `tls ${ca.files.cert} ${ca.files.key}`
  const site = (name: string) => readFileSync(join('deploy/compose', name), 'utf8').replaceAll('gateway:7420', upstream)
  const own = site('Caddyfile').replace('{$RCLAUDE_DOMAIN} {', `${url} {\n\t${tls}`)
  const previews = site('previews.caddy')
    .replace('*.{$RCLAUDE_PREVIEW_DOMAIN} {', `https://*.${DOMAIN}:${port} {`)
    .replace('tls /etc/caddy/previews.pem /etc/caddy/previews.key', tls)
  for (const text of [own, previews]) expect(text.split('{$RCLAUDE').length).toBe(1)
  const file = join(directory, 'Caddyfile')
  writeFileSync(file, `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${own}\n${previews}`)
  await startWebServer('caddy', ['run', '--adapter', 'caddyfile', '--config', file], directory, port)
  stopTasksAfterwards(world)
  const taskId = await idleTask(world)
  const vite = await startVite({ 'index.html': PAGE, 'main.js': main('before') })
  const env = { RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: world.adminToken, NODE_EXTRA_CA_CERTS: ca.file }
  const link = await world.cli(['preview', taskId, String(vite.port)], { env })
  expect(link, link.stderr).toMatchObject({ code: 0 })
  return { world, ca, port, taskId, vite, link: link.stdout.trim() }
}

type Scene = Awaited<ReturnType<typeof startBehindCaddy>>

/** As a browser that trusts the authority asks: by the name of the preview, which is this machine. */
function ask({ port, ca }: Scene, url: string, headers: Record<string, string> = {}): Promise<Answer> {
  const { host, hostname, pathname, search } = new URL(url)
  return new Promise((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port,
      servername: hostname,
      ca: readFileSync(ca.file),
      path: pathname + search,
    }
    get({ ...options, headers: { host, ...headers }, agent: false }, (response) => {
      textOf(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      )
    }).on('error', reject)
  })
}

test.skipIf(!hasCaddy || !hasOpenssl)(
  'a wildcard domain behind Caddy: a secure cookie, the page of Vite and its hot reload; nobody else is let in',
  async () => {
    const scene = await startBehindCaddy()
    const { vite, port, ca, world, taskId } = scene
    const { origin, host, hostname } = new URL(scene.link)
    expect(origin).toMatch(new RegExp(`^https://${vite.port}--[a-z0-9]{12}\\.preview\\.gateway\\.test:${port}$`))
    expect((await ask(scene, `${origin}/`)).status).toBe(401)
    const entered = await ask(scene, scene.link)
    const [whole = ''] = entered.headers['set-cookie'] ?? []
    expect(whole).toMatch(/^__Host-rclaude-preview=\S+; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800$/)
    const cookie = whole.split(';', 1)[0] ?? ''
    expect((await ask(scene, `${origin}/main.js`, { cookie })).body).toContain('"before"')
    expect((await ask(scene, `${origin.replace(/\d+--/, '1--')}/`, { cookie })).status).toBe(401)
    const client = await ask(scene, `${origin}/@vite/client`, { cookie })
    const token = /wsToken = "([^"]+)"/.exec(client.body)?.[1]

    const socket = new WebSocket(`wss://127.0.0.1:${port}/?token=${token}`, ['vite-hmr'], {
      agent: new Agent({ ca: readFileSync(ca.file), servername: hostname }),
      headers: { host, origin, cookie },
    })
    await expectHotReload(socket, 'main.js', () => vite.change('main.js', main('after')))
    expect((await ask(scene, `${origin}/main.js`, { cookie })).body).toContain('"after"')

    const closed = once(socket, 'close')
    await world.api().call(routes.endPreviews, { params: { taskId } })
    await closed
    expect((await ask(scene, `${origin}/`, { cookie })).status).toBe(401)
  },
  60_000,
)

test.skipIf(!hasCaddy || !hasOpenssl || CHROMIUM === undefined)(
  'behind Caddy a page of Vite shows a change in Chromium without being loaded anew, and no script sees the cookie',
  async () => {
    const { vite, link } = await startBehindCaddy()
    const browser = await openBrowser(`--host-resolver-rules=MAP *.${DOMAIN} 127.0.0.1`)
    const page = await browser.newPage()
    await page.goto(link)
    await page.getByText('before').waitFor()
    await page.evaluate('window.isTheSame = true')
    vite.change('main.js', main('after'))
    await page.getByText('after').waitFor()
    expect(await page.evaluate('[window.isTheSame, window.isSecureContext, document.cookie]')).toEqual([true, true, ''])
    expect(await browser.cookies()).toMatchObject([
      { name: '__Host-rclaude-preview', secure: true, httpOnly: true, domain: new URL(link).hostname },
    ])
  },
  60_000,
)
