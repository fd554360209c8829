/**
 * npm run check:nodes [-- [--short] MAJOR...]
 *
 * Tries this working tree on other Nodes than the one that is installed (22 and 24, unless said): takes them from npm, where
 * the package node-PLATFORM-ARCH carries the binary and its headers, compiles better-sqlite3 for them, and runs the build,
 * the CLI, the demo and the core of the tests. All in a temporary folder; the project and its node_modules stay as they
 * are. Ends with a table of what was run on which Node; what could not be run is in it with the reason, and is no failure:
 * not every machine reaches a registry that has these packages.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'

const MAJORS = ['22', '24']
/** Where a Node can make a difference: native module, child processes, streams and HTTP, and a whole task. */
const CORE = [
  'test/protocol',
  'test/gateway/store',
  'test/gateway/http',
  'test/agent/processes',
  'test/tunnel/http.test.ts',
  'test/e2e/curl.test.ts',
]
/** Unless it must be short. */
const MORE = ['test/e2e/backup.test.ts', 'test/e2e/exec.test.ts', 'test/e2e/terminals.test.ts']
const STEP_TIMEOUT_MS = 600_000
const TAIL_CHARACTERS = 2_000

const isShort = process.argv.includes('--short')
const TESTS = isShort ? CORE : [...CORE, ...MORE]
const asked = process.argv.slice(2).filter((argument) => argument !== '--short')
if (asked.some((major) => !/^\d+$/.test(major))) {
  console.error('usage: npm run check:nodes [-- [--short] MAJOR...], such as 22 24')
  process.exit(2)
}
const root = mkdtempSync(join(tmpdir(), 'rclaude-nodes-'))
chmodSync(root, 0o755) // tests run this Node as another user as well
try {
  const rows = (asked.length > 0 ? asked : MAJORS).flatMap(checkNode)
  console.log(`\n| Node | what | result |\n| --- | --- | --- |`)
  for (const { node, what, result } of rows) console.log(`| ${node} | ${what} | ${result} |`)
  process.exitCode = rows.some(({ result }) => result.startsWith('failed')) ? 1 : 0
} finally {
  rmSync(root, { recursive: true, force: true, maxRetries: 5 })
}

/** The first step that fails ends it: the later ones need it. */
function checkNode(major) {
  const rows = []
  const [home, tree] = [join(root, `node-${major}`), join(root, `tree-${major}`)]
  let node = major
  const step = (what, command, args, options) => {
    console.log(`\n— Node ${node}: ${what}`)
    const result = attempt(command, args, options)
    console.log(`  ${result}`)
    rows.push({ node, what, result })
    return result.startsWith('ok')
  }

  const name = `node-${process.platform}-${process.arch}`
  mkdirSync(home)
  const isInstalled = step('install from npm', 'npm', [
    'install',
    '--prefix',
    home,
    '--no-audit',
    '--no-fund',
    `${name}@${major}`,
  ])
  if (!isInstalled) {
    rows[0].result = rows[0].result.replace(/^failed/, 'not run: npm install failed')
    return rows
  }
  const installed = join(home, 'node_modules', name)
  const env = { ...process.env, PATH: `${join(installed, 'bin')}${delimiter}${process.env.PATH}` }
  node = spawnSync('node', ['--version'], { env, encoding: 'utf8' }).stdout.trim().replace('v', '')
  if (node.split('.')[0] !== major) {
    rows.push({ node: major, what: 'start it', result: `failed: node --version says ${node || 'nothing'}` })
    return rows
  }

  const native = copyTree(tree)
  const options = { cwd: tree, env }
  const gyp = nodeGyp()
  if (gyp === undefined || !existsSync(join(installed, 'include', 'node', 'node_version.h'))) {
    rows.push({
      node,
      what: 'better-sqlite3',
      result: `not run: no ${gyp ? 'headers in the npm package' : 'node-gyp beside npm'}`,
    })
    return rows
  }
  // node-gyp lets the variable, which npm sets from the user's settings, win over the option.
  const compile = [gyp, 'rebuild', '--release']
  const isWell =
    step('compile better-sqlite3', 'node', compile, { cwd: native, env: { ...env, npm_config_nodedir: installed } }) &&
    step('build', 'node', ['scripts/build.mjs', '--demo'], options) &&
    step('rclaude --version', 'node', ['dist/rclaude.js', '--version'], options) &&
    step('demo (a whole task)', 'node', ['dist/demo.js'], options)
  if (isWell) step(`tests: ${TESTS.join(' ')}`, 'node', ['node_modules/vitest/vitest.mjs', 'run', ...TESTS], options)
  return rows
}

/** The working tree as it is; packages are linked, but for the one that is compiled. @returns that one's folder */
function copyTree(tree) {
  mkdirSync(join(tree, 'node_modules'), { recursive: true })
  const left = new Set(['.git', 'node_modules', 'dist', 'out'])
  for (const entry of readdirSync('.').filter((entry) => !left.has(entry)))
    cpSync(entry, join(tree, entry), { recursive: true })
  // Tests bundle into .cache, and what is bundled finds its packages from there.
  for (const entry of readdirSync('node_modules').filter((entry) => !['better-sqlite3', '.cache'].includes(entry)))
    symlinkSync(resolve('node_modules', entry), join(tree, 'node_modules', entry))
  const native = join(tree, 'node_modules', 'better-sqlite3')
  cpSync('node_modules/better-sqlite3', native, {
    recursive: true,
    filter: (path) => !/better-sqlite3\/build$/.test(path),
  })
  return native
}

/** npm brings it along. */
function nodeGyp() {
  const { stdout } = spawnSync('npm', ['root', '--global'], { encoding: 'utf8' })
  const places = [join(stdout.trim(), 'npm'), join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm')]
  return places.map((npm) => join(npm, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')).find(existsSync)
}

function attempt(command, args, options = {}) {
  const started = Date.now()
  const done = spawnSync(command, args, {
    ...options,
    encoding: 'utf8',
    timeout: STEP_TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const seconds = `${((Date.now() - started) / 1000).toFixed(0)} s`
  if (done.status === 0) return `ok, ${seconds}`
  console.log(`${done.stdout ?? ''}${done.stderr ?? ''}`.slice(-TAIL_CHARACTERS))
  return `failed after ${seconds}: ${done.error?.message ?? `exit ${done.status ?? done.signal}`}`
}
