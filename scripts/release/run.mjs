/** Runs a program of the release to its end. */
import { spawnSync } from 'node:child_process'

/** What the maintainer has to mend; told without a stack. */
export class Refusal extends Error {}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** @returns standard output @throws Refusal with what the program said, when it fails */
export function run(command, args, { cwd, env, emptyEnv = false, timeoutMs = 300_000 } = {}) {
  const done = spawnSync(command, args, {
    cwd,
    env: { ...(emptyEnv ? {} : process.env), ...env },
    encoding: 'utf8',
    timeout: timeoutMs,
    maxBuffer: MAX_OUTPUT_BYTES,
  })
  if (done.status === 0) return done.stdout
  const how = done.error?.message ?? `exit ${done.status ?? done.signal}`
  throw new Refusal(`${command} ${args.join(' ')} failed (${how}):\n${done.stdout}${done.stderr}`.trim())
}
