/** A real small disk: a tmpfs, which only root can mount. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** @param size as `mount` takes it: `1m` */
export function mountSmallDisk(path: string, size: string): void {
  mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path], { stdio: 'pipe' })
}

/** Also while a file on it is open. */
export const unmount = (path: string): void => void execFileSync('umount', ['-l', path], { stdio: 'pipe' })

/**
 * Runs the test on a small disk that is mounted at `path` meanwhile. Where none can be mounted the test is skipped, with
 * the reason.
 */
export async function onSmallDisk(
  test: { skip(note?: string): never },
  path: string,
  size: string,
  work: (path: string) => Promise<void>,
): Promise<void> {
  try {
    mountSmallDisk(path, size)
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n', 1)[0] : String(error)
    console.log(`skipped: a small tmpfs cannot be mounted here (${why})`)
    return test.skip(why)
  }
  try {
    await work(path)
  } finally {
    unmount(path)
  }
}
