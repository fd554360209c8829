/** What the program reads of the world, gathered once in `main.ts` and handed down, so that nothing else looks at `process`. */
export interface World {
  argv: readonly string[]
  env: NodeJS.ProcessEnv
  cwd: string
  home: string
  platform: NodeJS.Platform
  stdin: NodeJS.ReadStream
  stdout: NodeJS.WriteStream
  stderr: NodeJS.WriteStream
  /** Directory of rclaude.js; gateway.js lies beside it. */
  programs: string
  /** What came after `--` on the command line of `run` and `exec`. */
  afterDashes: readonly string[] | undefined
  /** Set by the command that ran. */
  exitCode: number
}

/** Someone is there who can be asked. */
export const canAsk = (world: World): boolean => world.stdin.isTTY === true && world.stderr.isTTY === true

/** A variable's value; an empty one counts as not set. */
export function variable(world: Pick<World, 'env'>, name: string): string | undefined {
  const value = world.env[name]
  return value === undefined || value === '' ? undefined : value
}
