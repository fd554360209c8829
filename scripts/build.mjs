/**
 * Bundles the programs into dist/: rclaude.js (the CLI: no native module, no Claude), gateway.js, agent.js, and with
 * --demo the demo, with --soak the soak runs in dist/soak/, with --bench the benches and the tunnel's workers in
 * dist/bench/. The CLI is split so that a command loads when it is called; gateway and agent are one file each, so that an
 * agent can be copied into a container as it is.
 */
import { chmod, copyFile, readdir, readFile, rm } from 'node:fs/promises'
import { build } from 'esbuild'

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
const shared = {
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  sourcemap: 'linked',
  external: ['better-sqlite3'],
  // A release builds with this project's packages seen from a clean checkout; where they really are is nobody's business.
  preserveSymlinks: true,
  define: { __RCLAUDE_VERSION__: JSON.stringify(version) },
  legalComments: 'external',
  logLevel: 'warning',
}
// What `ws` would take from a native package if it were there: masking, in words instead of bytes.
const tunnelled = { ...shared, alias: { bufferutil: './tunnel/mask.ts' } }
// Some CommonJS dependencies call require() for Node's own modules.
const require = { js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);" }

await rm('dist', { recursive: true, force: true })
await build({
  ...shared,
  entryPoints: { rclaude: 'cli/main.ts' },
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  banner: require,
})
await build({ ...tunnelled, entryPoints: { gateway: 'gateway/main.ts' }, banner: require })
await build({ ...tunnelled, entryPoints: { agent: 'agent/main.ts' }, banner: require })
if (process.argv.includes('--demo')) await build({ ...shared, entryPoints: { demo: 'demo/main.ts' }, banner: require })
if (process.argv.includes('--soak'))
  await build({
    ...shared,
    outdir: 'dist/soak',
    packages: 'external',
    entryPoints: { attachments: 'test/soak/attachments/main.ts' },
  })
if (process.argv.includes('--bench')) {
  const workers = ['agents', 'probe', 'reader', 'relay', 'sender', 'terminator']
  await build({
    ...shared,
    outdir: 'dist/bench',
    packages: 'external',
    entryPoints: {
      tunnel: 'bench/tunnel/main.ts',
      terminal: 'bench/terminal/main.ts',
      ...Object.fromEntries(workers.map((name) => [name, `bench/tunnel/workers/${name}.ts`])),
    },
  })
}
// The agent's terminals: a file beside it, since it cannot be part of a bundle.
const native = new URL('../node_modules/@lydell/', import.meta.url)
for (const name of await readdir(native).catch(() => [])) {
  const platform = /^node-pty-(.+)$/.exec(name)?.[1]
  if (platform !== undefined) await copyFile(new URL(`${name}/pty.node`, native), `dist/pty-${platform}.node`)
}
for (const name of ['rclaude', 'gateway', 'agent']) await chmod(`dist/${name}.js`, 0o755)
