import type { BuildOptions } from 'esbuild'

export declare const bundling: Pick<
  BuildOptions,
  'bundle' | 'platform' | 'target' | 'format' | 'external' | 'banner' | 'plugins'
>

/** The few lines that are called, and load the CLI's program. */
export declare const cliCaller: (version: string) => BuildOptions
export declare const cliProgram: (version: string) => BuildOptions
