/** What every bundle of the programs needs to be told, be it for a release or for a test. */
import { dirname } from 'node:path'

/** Zod brings its messages in sixty languages, of which we speak one: half of what the CLI reads when it starts. */
const englishOnly = {
  name: 'english-only',
  setup(bundle) {
    bundle.onLoad({ filter: /zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, ({ path }) => ({
      contents: "export { default as en } from './en.js'",
      resolveDir: dirname(path),
    }))
  },
}

/** Docker's client can speak SSH and BuildKit, with two megabytes of code, and debug in colours: we ask for none of it. */
const unused = {
  name: 'unused',
  setup(bundle) {
    bundle.onResolve({ filter: /^(ssh2|protobufjs|supports-color|@grpc\/.*)$/ }, ({ path }) => ({
      path,
      namespace: 'unused',
    }))
    bundle.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }))
  },
}

export const bundling = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  /** Native: found in node_modules. */
  external: ['better-sqlite3'],
  /** Some CommonJS dependencies call require() for Node's own modules. */
  banner: { js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);" },
  plugins: [englishOnly, unused],
}

const versioned = (version) => ({ __RCLAUDE_VERSION__: JSON.stringify(version) })

export const cliCaller = (version) => ({
  ...bundling,
  banner: {},
  entryPoints: { rclaude: 'cli/main.ts' },
  define: versioned(version),
})

/**
 * One file, so that V8's compiled form can be kept of it (cli/code-cache.ts): a function, without the module loader. What is
 * imported late is evaluated late all the same.
 */
export const cliProgram = (version) => ({
  ...bundling,
  entryPoints: { rclaude: 'cli/start.ts' },
  define: versioned(version),
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  banner: { js: '(function (exports, require, module) {' },
  footer: { js: '})' },
  supported: { 'dynamic-import': false },
  minifyWhitespace: true,
  lineLimit: 200, // Node prints the line of an error that nobody caught
})
