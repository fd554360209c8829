/**
 * npm run release [-- --check]
 *
 * Makes in out/ what a release consists of, from the commit and from nothing else: the npm tarball, the bundles as a
 * .tar.gz, the SBOM, the licences of what is bundled, SHA256SUMS. Everything is built twice, in two places, and has to
 * come out the same byte for byte. Then the tarball is installed into an empty folder with an empty HOME and tried.
 * It publishes nothing; it ends with the commands that would.
 *
 * --check takes half the time and no network: instead of installing, it unpacks the tarball beside this project's own
 * better-sqlite3.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { bundledPackages, licencesOf, sbomOf, tarBundles } from './release/bundles.mjs'
import { Refusal, run } from './release/run.mjs'
import { tryInstalled } from './release/trial.mjs'

const OUT = resolve('out')
const WORK = join(OUT, 'work')

try {
  await release(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(`release: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(WORK, { recursive: true, force: true })
}

async function release(argv) {
  const isCheck = argv[0] === '--check'
  if (argv.length > (isCheck ? 1 : 0)) throw new Refusal('usage: npm run release [-- --check]')
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  const commit = committed(version)
  rmSync(OUT, { recursive: true, force: true })

  const first = await make('first', version, commit)
  console.log(`built ${version} from ${commit.id.slice(0, 12)}; and again, somewhere else`)
  const second = await make('somewhere-else', version, commit)
  const different = Object.keys(first).filter((name) => !first[name].equals(second[name] ?? Buffer.alloc(0)))
  if (different.length > 0)
    throw new Refusal(
      `two builds of the same commit differ in ${different.join(', ')}: nobody could check this release`,
    )

  for (const [name, bytes] of Object.entries(first)) writeFileSync(join(OUT, name), bytes)
  const sums = Object.entries(first).map(([name, bytes]) => `${sha256(bytes)}  ${name}\n`)
  writeFileSync(join(OUT, 'SHA256SUMS'), sums.join(''))

  const tarball = join(OUT, `rclaude-${version}.tgz`)
  await tryInstalled({ tarball, version, folder: join(WORK, 'trial'), install: !isCheck })
  tell(version, first)
}

/** @throws Refusal for what is not committed, or not written down */
function committed(version) {
  const changes = run('git', ['status', '--porcelain']).trim()
  if (changes !== '') throw new Refusal(`there are changes that no commit has; commit or stash them first:\n${changes}`)
  const headings = readFileSync('CHANGELOG.md', 'utf8').match(/^## .*$/gm) ?? []
  const heading = headings.find((line) => line.split(' ')[1] === version)
  if (heading === undefined)
    throw new Refusal(`CHANGELOG.md has no section "## ${version}": say there what changes for the users`)
  if (heading.includes('not released'))
    console.log(`note: CHANGELOG.md still says "${heading.slice(3)}"; give it a date before you publish`)
  if (!existsSync('node_modules')) throw new Refusal('the packages to build with are missing: npm ci')
  const [id = '', seconds = ''] = run('git', ['log', '-1', '--format=%H %ct']).trim().split(' ')
  return { id, date: new Date(Number(seconds) * 1000) }
}

/** @returns the files of the release by name: made from a clean checkout of the commit, in a folder of this name */
async function make(name, version, commit) {
  const checkout = join(WORK, name)
  mkdirSync(checkout, { recursive: true })
  const index = { GIT_INDEX_FILE: join(WORK, `${name}.index`) }
  run('git', ['--work-tree', checkout, 'read-tree', commit.id], { env: index })
  run('git', ['--work-tree', checkout, 'checkout-index', '--all'], { env: index })
  symlinkSync(resolve('node_modules'), join(checkout, 'node_modules'))
  const env = { SOURCE_DATE_EPOCH: String(commit.date.getTime() / 1000) }
  run(process.execPath, ['scripts/build.mjs'], { cwd: checkout, env })

  const packages = bundledPackages(join(checkout, 'dist'), resolve('node_modules'))
  const licences = licencesOf(packages)
  writeFileSync(join(checkout, 'dist', 'THIRD-PARTY-LICENSES.txt'), licences)
  run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', checkout], { cwd: checkout, env })
  return {
    [`rclaude-${version}.tgz`]: readFileSync(join(checkout, `rclaude-${version}.tgz`)),
    [`rclaude-bundles-${version}.tar.gz`]: await tarBundles(checkout, version, commit.date),
    [`rclaude-${version}.cdx.json`]: Buffer.from(sbomOf(packages, checkout, commit)),
    'THIRD-PARTY-LICENSES.txt': Buffer.from(licences),
  }
}

function tell(version, files) {
  console.log(`\nout/ has, the same bytes for everyone who builds this commit with these packages:`)
  for (const name of readdirSync(OUT).filter((name) => name !== 'work')) {
    const size = files[name] === undefined ? '' : `${(files[name].length / 1024).toFixed(0)} KiB`
    console.log(`  ${name.padEnd(36)}${size}`)
  }
  console.log(`
Nothing is published. To do so:
  git tag -s v${version} && git push origin v${version}
  npm publish out/rclaude-${version}.tgz
  gh release create v${version} out/*.t*gz out/*.json out/*.txt out/SHA256SUMS`)
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}
