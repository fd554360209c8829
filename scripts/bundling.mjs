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
