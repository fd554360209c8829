/**
 * Bundles the programs into dist/: rclaude.js and rclaude.cjs (the CLI: no native module, no Claude) and git's way to call it,
 * gateway.js, agent.js, and with --demo the demo, with --soak the soak runs in dist/soak/, with --bench the benches and
 * their workers in dist/bench/. Gateway and agent are one file each, so that an agent can be copied into a container as it is.
 */
import { chmod, copyFile, readdir, readFile, rm } from 'node:fs/promises'
import { build } from 'esbuild'
import { bundling, cliCaller, cliProgram } from './bundling.mjs'

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
const shared = {
  outdir: 'dist',
  ...bundling,
  sourcemap: 'linked',
  // A release builds with this project's packages seen from a clean checkout; where they really are is nobody's business.
  preserveSymlinks: true,
  define: { __RCLAUDE_VERSION__: JSON.stringify(version) },
  legalComments: 'external',
  logLevel: 'warning',
}
// What `ws` would take from a native package if it were there: masking, in words instead of bytes.
const tunnelled = { ...shared, alias: { bufferutil: './tunnel/mask.ts' } }

await rm('dist', { recursive: true, force: true })
await build({ ...shared, ...cliCaller(version) })
await build({ ...shared, ...cliProgram(version) })
await copyFile('cli/git-remote-rclaude.js', 'dist/git-remote-rclaude.js')
await build({ ...tunnelled, entryPoints: { gateway: 'gateway/main.ts' } })
await build({ ...tunnelled, entryPoints: { agent: 'agent/main.ts' } })
if (process.argv.includes('--demo')) await build({ ...shared, entryPoints: { demo: 'demo/main.ts' } })
if (process.argv.includes('--soak'))
  await build({
    ...shared,
    outdir: 'dist/soak',
    packages: 'external',
    entryPoints: { attachments: 'test/soak/attachments/main.ts', files: 'test/soak/files/main.ts' },
  })
if (process.argv.includes('--bench')) {
  const workers = ['agents', 'probe', 'reader', 'relay', 'sender', 'terminator']
  await build({
    ...shared,
    outdir: 'dist/bench',
    packages: 'external',
    entryPoints: {
      tunnel: 'bench/tunnel/main.ts',
      exec: 'bench/exec/main.ts',
      sync: 'bench/sync/main.ts',
      launch: 'bench/launch/main.ts',
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
for (const name of ['rclaude', 'git-remote-rclaude', 'gateway', 'agent']) await chmod(`dist/${name}.js`, 0o755)
