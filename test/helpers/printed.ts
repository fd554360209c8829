/** Waits until a program has printed something; to be called before it can have. */
import type { ChildProcess } from 'node:child_process'
import { eventually } from './eventually.ts'

export async function printed({ stdout }: ChildProcess, text: string): Promise<void> {
  let seen = ''
  const look = (chunk: Buffer) => {
    seen += chunk.toString()
  }
  stdout?.on('data', look)
  try {
    await eventually(`it prints ${JSON.stringify(text)}`, () => seen.includes(text))
  } finally {
    stdout?.off('data', look)
  }
}
