/**
 * node test/helpers/run-bundled.mjs ENTRY [ARGUMENT...]
 *
 * Bundles a program written in TypeScript, which Node 20 does not read, into one file in a temporary folder, and runs its
 * `main(arguments, { directory, bundle })`, which answers with the exit code.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [entry = '', ...argv] = process.argv.slice(2)
const temporary = mkdtempSync(join(tmpdir(), 'rclaude-bundled-'))
try {
  const bundle = join(temporary, 'main.mjs')
  await build({
    entryPoints: [entry],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    logLevel: 'warning',
    // `ws` is CommonJS and asks for Node's own modules.
    banner: { js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);" },
  })
  const { main } = await import(pathToFileURL(bundle).href)
  process.exitCode = await main(argv, { directory: resolve(dirname(entry)), bundle })
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
