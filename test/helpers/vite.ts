/** The real Vite on a small project, served on this machine's loopback, without any setting for previews. */
import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'vite'
import { onTestFinished } from 'vitest'
import type { WebSocket } from 'ws'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'

/** What a page does that Vite serves with hot reload: `change` is told to it. The socket may still be connecting. */
export async function expectHotReload(socket: WebSocket, file: string, change: () => void): Promise<void> {
  onTestFinished(() => socket.terminate())
  const messages: string[] = []
  socket.on('message', (data) => messages.push(String(data)))
  await once(socket, 'open')
  await eventually('Vite greets', () => messages.some((text) => text.includes('"connected"')))
  change()
  await eventually('the change is told', () =>
    messages.some((text) => (text.split('"update"', 2)[1] ?? '').includes(file)),
  )
}

/** @param files of the project; `change` writes one anew */
export async function startVite(files: Record<string, string>) {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'rclaude-vite-')))
  const change = (name: string, text: string) => writeFileSync(join(root, name), text)
  for (const [name, text] of Object.entries(files)) change(name, text)
  const port = await freePort()
  const vite = await createServer({
    root,
    server: { port, strictPort: true, host: '127.0.0.1' },
    configFile: false,
    logLevel: 'silent',
    cacheDir: join(root, 'cache'),
  })
  onTestFinished(async () => {
    await vite.close()
    rmSync(root, { recursive: true, force: true })
  })
  await vite.listen()
  return { port, change }
}
