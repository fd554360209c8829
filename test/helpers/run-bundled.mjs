/**
 * node test/helpers/run-bundled.mjs ENTRY [ARGUMENT...]
 *
 * Bundles a program written in TypeScript, which Node 20 does not read, into one file, and runs its
 * `main(arguments, { directory, bundle })`, which answers with the exit code. The file lies for that time below node_modules, where
 * what is native is found.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [entry = '', ...argv] = process.argv.slice(2)
const cache = resolve('node_modules/.cache')
mkdirSync(cache, { recursive: true })
const temporary = mkdtempSync(join(cache, 'rclaude-bundled-'))
try {
  const bundle = join(temporary, 'main.mjs')
  await build({
    entryPoints: [entry],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    external: ['better-sqlite3'],
    logLevel: 'warning',
    // `ws` is CommonJS and asks for Node's own modules.
    banner: { js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);" },
  })
  const { main } = await import(pathToFileURL(bundle).href)
  process.exitCode = await main(argv, { directory: resolve(dirname(entry)), bundle })
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
