/** One case of the conformance suite, and the shell that most of them call. */
export interface Case {
  name: string
  argv: string[]
  /** Through the built program, whose own streams and exit are part of what is tried; the others run in this process. */
  built?: boolean
  /** Bytes on standard input, with `-i`; without it nothing is passed on. */
  stdin?: Buffer | undefined
  /** A folder below the workspace. */
  cwd?: string
  env?: string[]
  user?: string
  /** Run by a shell in the workspace before. */
  setup?: string
  code?: number
  stdout?: string | Buffer | RegExp
  stderr?: string | Buffer | RegExp
  /** Why the engine's is another, and what of it is compared all the same. */
  differs?: { why: string; compare?: ('code' | 'stdout' | 'stderr')[] }
}

export const sh = (script: string, ...args: string[]): string[] => [
  'sh',
  '-c',
  script,
  ...(args.length > 0 ? ['sh', ...args] : []),
]
