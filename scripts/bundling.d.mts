import type { BuildOptions } from 'esbuild'

export declare const bundling: Pick<
  BuildOptions,
  'bundle' | 'platform' | 'target' | 'format' | 'external' | 'banner' | 'plugins'
>
