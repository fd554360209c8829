/**
 * The same echoes without the product: shells of our own, over a pipe. What is slow here as well was the machine, and no
 * tunnel.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Echo } from './recovery.ts'

const SHELLS = 4
const PERIOD_MS = 50

export interface Control {
  readonly echoes: readonly Echo[]
  stop(): Promise<void>
}

export function startControl(): Control {
  const echoes: Echo[] = []
  const shells = Array.from({ length: SHELLS }, () => startShell(echoes))
  return {
    echoes,
    async stop() {
      await Promise.all(shells.map((stop) => stop()))
    },
  }
}

function startShell(echoes: Echo[]): () => Promise<void> {
  const child = spawn('sh', ['-c', 'while read -r line; do echo "$line"; done'], { stdio: ['pipe', 'pipe', 'ignore'] })
  const sentAtMs: number[] = []
  child.stdout.on('data', (chunk: Buffer) => {
    for (const byte of chunk) {
      const sent = byte === 10 ? sentAtMs.shift() : undefined
      if (sent !== undefined) echoes.push({ sentAtMs: sent, tookMs: performance.now() - sent })
    }
  })
  const timer = setInterval(() => {
    sentAtMs.push(performance.now())
    child.stdin.write('.\n')
  }, PERIOD_MS)
  return async () => {
    clearInterval(timer)
    child.stdin.end()
    if (child.exitCode === null) await once(child, 'exit')
  }
}
