/** Long text on a terminal: through $PAGER, or less, when there is one. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { findProgram, foldersOf } from '../host/programs.ts'
import { write } from './output.ts'
import { variable, type World } from './world.ts'

/** As git sets it: quit when it fits one screen, show colours, leave the text on the screen. */
const LESS = 'FRX'

export async function page(world: World, text: AsyncIterable<string>): Promise<void> {
  const pager = variable(world, 'PAGER') ?? 'less'
  const isThere = (await findProgram(pager.trim().split(/\s+/)[0] ?? '', foldersOf(world.env.PATH))) !== undefined
  if (world.stdout.isTTY !== true || pager === 'cat' || !isThere) {
    for await (const piece of text) await write(world.stdout, piece)
    return
  }
  // By POSIX $PAGER is a shell command; it is the user's own.
  const child = spawn('/bin/sh', ['-c', pager], { stdio: ['pipe', 'inherit', 'inherit'], env: { LESS, ...world.env } })
  const closed = once(child, 'close')
  child.stdin.on('error', () => {}) // the reader has seen enough and left
  const ignore = () => {} // Ctrl-C is the pager's while it runs
  process.on('SIGINT', ignore)
  try {
    for await (const piece of text) {
      if (child.stdin.destroyed) break
      if (!child.stdin.write(piece)) await Promise.race([once(child.stdin, 'drain').catch(() => {}), closed])
    }
    child.stdin.end()
    await closed
  } finally {
    process.off('SIGINT', ignore)
  }
}
