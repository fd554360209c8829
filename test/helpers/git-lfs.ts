/** The real git-lfs, for tests (Debian: apt-get install git-lfs). */
import { spawnSync } from 'node:child_process'

/** Why tests that need it cannot run here; undefined when they can. */
export const whyNoLfs: string | undefined =
  spawnSync('git', ['lfs', 'version']).status === 0
    ? undefined
    : 'git-lfs is not installed here (Debian: apt-get install git-lfs); its tests are skipped'
