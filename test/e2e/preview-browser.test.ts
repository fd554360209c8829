/** Previews in a real Chromium: hot reload, and what a hostile page can reach of others. */
import type { BrowserContext } from 'playwright-core'
import { expect, test } from 'vitest'
import { CHROMIUM, openBrowser } from '../helpers/chromium.ts'
import { eventually } from '../helpers/eventually.ts'
import { startForwardingWorld } from '../helpers/forwarding.ts'
import { startDevServer, ticketFor } from '../helpers/previews.ts'
import { startVite } from '../helpers/vite.ts'
import type { World } from '../helpers/world.ts'

const PAGE = '<title>mine</title><p id="text">nothing yet</p><script type="module" src="/main.js"></script>'
const main = (text: string) =>
  `document.querySelector('#text').textContent = ${JSON.stringify(text)}\nimport.meta.hot.accept()\n`

test.runIf(CHROMIUM)('a page of Vite shows a change without being loaded anew', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port, change } = await startVite({ 'index.html': PAGE, 'main.js': main('before') })
  const page = await (await openBrowser()).newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  await page.goto((await ticketFor(world, taskId, port)).url)
  await page.getByText('before').waitFor()
  expect(page.url()).not.toContain('ticket')
  await page.evaluate('window.isTheSame = true')
  change('main.js', main('after'))
  await page.getByText('after').waitFor()
  expect(await page.evaluate('window.isTheSame')).toBe(true)
  await page.reload()
  await page.getByText('after').waitFor()
  expect(problems).toEqual([])
})

/** What a hostile page of another preview tries, each with what came of it. */
const ATTACK = (target: string, gateway: string) => `async () => {
  const tried = {}
  const attempt = async (name, work) => {
    tried[name] = await work().then((value) => 'got ' + value, (error) => 'refused: ' + error.name)
  }
  const read = (url) => async () => (await fetch(url, { credentials: 'include' })).text()
  await attempt('the other preview', read(${JSON.stringify(target)}))
  await attempt('the gateway', read(${JSON.stringify(`${gateway}/v1/tasks`)}))
  await attempt('the gateway by the name of a preview', read('/v1/tasks'))
  await attempt('a frame', () => new Promise((resolve, reject) => {
    const frame = document.createElement('iframe')
    frame.onload = () => {
      try { resolve(frame.contentDocument.body.textContent) } catch (error) { reject(error) }
    }
    frame.src = ${JSON.stringify(target)}
    document.body.append(frame)
    setTimeout(() => reject(new Error('no load')), 5000)
  }))
  await attempt('a service worker for all', async () => {
    await navigator.serviceWorker.register('/worker.js', { scope: '/' })
    return (await navigator.serviceWorker.ready).scope
  })
  document.domain = document.domain
  for (const name of ['rclaude-preview', '__Host-rclaude-preview'])
    document.cookie = name + '=tossed; domain=localhost; path=/'
  tried.cookies = document.cookie
  return tried
}`

async function hostileServer(): Promise<number> {
  const { port } = await startDevServer((request, response) => {
    if (request.url === '/worker.js') response.setHeader('content-type', 'text/javascript').end('// does nothing')
    else if (request.url === '/') response.setHeader('content-type', 'text/html').end('<title>evil</title><body>evil')
    else response.writeHead(404).end('nothing of the gateway here')
  })
  return port
}

test.runIf(CHROMIUM)(
  'a hostile page reads nothing of other previews and of the gateway, and locks nobody out',
  async () => {
    const { world, taskId } = await startForwardingWorld()
    const { port } = await startVite({ 'index.html': PAGE, 'main.js': main('secret of mine') })
    const context = await openBrowser()
    const mine = await enter(context, world, taskId, port)
    await mine.getByText('secret of mine').waitFor()
    const target = mine.url()
    const evil = await enter(context, world, taskId, await hostileServer())
    expect(await evil.title()).toBe('evil')

    const tried = (await evil.evaluate(`(${ATTACK(target, world.url)})()`)) as Record<string, string>
    expect(tried).toMatchObject({
      'the other preview': 'refused: TypeError',
      'the gateway': 'refused: TypeError',
      'the gateway by the name of a preview': 'got nothing of the gateway here',
      'a frame': expect.stringMatching(/^refused|^got $/),
      'a service worker for all': `got ${new URL(evil.url()).origin}/`, // its own origin, and no more
    })
    expect(JSON.stringify(tried)).not.toContain('secret of mine')

    // Cookies that it tossed at all of localhost neither let it in elsewhere nor shut the user out.
    await mine.reload()
    await mine.getByText('secret of mine').waitFor()
    const stranger = await (await openBrowser()).newPage()
    await stranger.context().addCookies([{ name: 'rclaude-preview', value: 'tossed', domain: 'localhost', path: '/' }])
    const shut = await stranger.goto(target)
    expect(shut?.status()).toBe(401)
  },
)

test.runIf(CHROMIUM)('the end of the task ends what the browser sees', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port } = await startVite({ 'index.html': PAGE, 'main.js': main('still here') })
  const page = await enter(await openBrowser(), world, taskId, port)
  await page.getByText('still here').waitFor()
  await world.cli(['stop', taskId], { env: world.asAdmin })
  await world.ended(taskId)
  const status = await eventually('it is refused', async () => {
    const answer = await page.reload()
    return answer !== null && answer.status() >= 400 && answer.status()
  })
  expect([401, 404, 410]).toContain(status)
})

async function enter(context: BrowserContext, world: World, taskId: string, port: number) {
  const page = await context.newPage()
  await page.goto((await ticketFor(world, taskId, port)).url)
  return page
}
