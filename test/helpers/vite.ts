/** The real Vite on a small project, served on this machine's loopback, without any setting for previews. */
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'vite'
import { onTestFinished } from 'vitest'
import { freePort } from './free-port.ts'

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
