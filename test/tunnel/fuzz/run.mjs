/** Bundles the fuzzer into one file in a temporary folder, which the coverage needs, and runs it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const directory = fileURLToPath(new URL('.', import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), 'rclaude-fuzz-'))
try {
  const bundle = join(temporary, 'fuzz.mjs')
  await build({
    entryPoints: [join(directory, 'main.ts')],
    absWorkingDir: join(directory, '../../..'),
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    logLevel: 'warning',
  })
  const { main } = await import(pathToFileURL(bundle).href)
  process.exitCode = await main(process.argv.slice(2), { directory, bundle })
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
