/** What a gateway hands a launcher, for tests that call one themselves. */
import type { LaunchOptions, LaunchSpec } from '../../gateway/launchers/launcher.ts'
import { newLaunchId, newTaskId } from '../../protocol/ids.ts'

export const launchSpec = (over: Partial<LaunchSpec> = {}): LaunchSpec => ({
  launchId: newLaunchId(),
  taskId: newTaskId(),
  gatewayUrl: 'http://127.0.0.1:9',
  joinCode: 'a-join-code',
  agent: 'command',
  machine: {},
  ...over,
})

/** The way of a gateway that nothing cuts off, with what it was told. */
export function launchOptions(over: Partial<LaunchOptions> = {}): LaunchOptions & { said: string[]; notes: unknown[] } {
  const said: string[] = []
  const notes: unknown[] = []
  return {
    signal: new AbortController().signal,
    progress: (text) => void said.push(text),
    warn: (text) => void said.push(text),
    keep: (note) => void notes.push(note),
    kept: undefined,
    said,
    notes,
    ...over,
  }
}
