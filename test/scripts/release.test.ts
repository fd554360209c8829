/** The short form of `npm run release`, in a repository of its own that holds the working tree as it is. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.ts'

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const NOT_COPIED = new Set(['.git', 'node_modules', 'dist', 'out'])
const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'))

function repository(): string {
  const folder = temporaryDirectory()
  for (const entry of readdirSync(PROJECT).filter((entry) => !NOT_COPIED.has(entry)))
    cpSync(join(PROJECT, entry), join(folder, entry), { recursive: true })
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'))
  // The ignore file names node_modules/ as a folder; here it is a link.
  appendFileSync(join(folder, '.gitignore'), 'node_modules\n')
  git(folder, 'init', '--quiet')
  commit(folder)
  return folder
}

function git(folder: string, ...args: string[]): void {
  const settings = ['-c', 'user.name=Test', '-c', 'user.email=test@localhost', '-c', 'commit.gpgsign=false']
  execFileSync('git', [...settings, ...args], { cwd: folder, stdio: 'pipe' })
}

function commit(folder: string): void {
  git(folder, 'add', '--all')
  git(folder, 'commit', '--quiet', '--message=all')
}

function release(folder: string, ...args: string[]) {
  return spawnSync(process.execPath, ['scripts/release.mjs', ...args], { cwd: folder, encoding: 'utf8' })
}

test('a release is the same twice, complete, summed up, and its tarball runs a task', { timeout: 180_000 }, () => {
  const folder = repository()
  const done = release(folder, '--check')
  expect(done.stderr).toBe('')
  expect(done.status).toBe(0)
  expect(done.stdout).toContain('says its version and runs a task')

  const out = join(folder, 'out')
  expect(readdirSync(out).sort()).toEqual([
    'SHA256SUMS',
    'THIRD-PARTY-LICENSES.txt',
    `rclaude-${version}.cdx.json`,
    `rclaude-${version}.tgz`,
    `rclaude-bundles-${version}.tar.gz`,
  ])
  for (const line of readFileSync(join(out, 'SHA256SUMS'), 'utf8').trim().split('\n')) {
    const [sum, name = ''] = line.split('  ')
    expect(
      createHash('sha256')
        .update(readFileSync(join(out, name)))
        .digest('hex'),
    ).toBe(sum)
  }
  const bundles = execFileSync('tar', ['-tzf', join(out, `rclaude-bundles-${version}.tar.gz`)], { encoding: 'utf8' })
  for (const name of ['rclaude.js', 'rclaude.cjs', 'gateway.js', 'agent.js', 'THIRD-PARTY-LICENSES.txt'])
    expect(bundles).toContain(`rclaude-${version}/dist/${name}\n`)
  // Of the gateway, and of the CLI alone.
  for (const name of ['zod', 'commander'])
    expect(readFileSync(join(out, 'THIRD-PARTY-LICENSES.txt'), 'utf8')).toMatch(
      new RegExp(`^${name} \\S+ \\(MIT\\)$`, 'm'),
    )

  const sbom = JSON.parse(readFileSync(join(out, `rclaude-${version}.cdx.json`), 'utf8'))
  const names = sbom.components.map(({ name }: { name: string }) => name)
  expect(names).toEqual(expect.arrayContaining(['zod', 'yaml', 'hono', 'ws', 'better-sqlite3']))
  expect(names).not.toContain('vitest')
  expect(JSON.stringify(sbom)).not.toContain(folder)
})

test('what no commit has and what the changelog does not tell is not released', () => {
  const folder = repository()
  writeFileSync(join(folder, 'forgotten.ts'), '')
  const dirty = release(folder)
  expect(dirty.status).toBe(1)
  expect(dirty.stderr).toContain('?? forgotten.ts')

  const manifest = join(folder, 'package.json')
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(`"version": "${version}"`, '"version": "9.9.9"'))
  commit(folder)
  const untold = release(folder)
  expect(untold.status).toBe(1)
  expect(untold.stderr).toContain('CHANGELOG.md has no section "## 9.9.9"')
  expect(existsSync(join(folder, 'out'))).toBe(false)

  expect(release(folder, '--chekc').stderr).toContain('usage: npm run release')
})

test('a build that fails ends the release with what the builder said', () => {
  const folder = repository()
  appendFileSync(join(folder, 'cli', 'main.ts'), "\nimport './not-there.ts'\n")
  commit(folder)
  const failed = release(folder, '--check')
  expect(failed.status).toBe(1)
  expect(failed.stderr).toContain('not-there.ts')
})
