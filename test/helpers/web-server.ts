/** Caddy or nginx of this machine, in front of a gateway. */
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'

/** Until it takes connections. It is stopped, and gone, when the test has finished. */
export async function startWebServer(name: string, argv: string[], home: string, port: number): Promise<void> {
  const child = spawn(name, argv, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home },
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk))
  const gone = new Promise((resolve) => child.once('exit', resolve))
  onTestFinished(async () => {
    child.kill('SIGTERM')
    await gone
  })
  const answers = () =>
    new Promise<boolean>((resolve) => {
      if (child.exitCode !== null) throw new Error(`${name} ended: ${said}`)
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
  await eventually(`${name} listens`, answers)
}
