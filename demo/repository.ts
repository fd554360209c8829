/** Makes the repository of the demo: a small library for durations with a real bug, and a test that shows it. */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

export const DEMO_PROMPT = 'fix the failing test'
/** The file with the bug, the line that is wrong, and what it should be. */
export const DEMO_BUG = {
  file: 'src/duration.js',
  wrong: 'total = Number(amount) * SECONDS[unit]',
  right: 'total += Number(amount) * SECONDS[unit]',
} as const

const FILES: Record<string, string> = {
  'package.json': `{
  "name": "tea-timer",
  "version": "1.0.0",
  "private": true,
  "type": "module",
  "scripts": { "test": "node --test" }
}
`,
  'README.md': `# tea-timer

\`parseDuration('1h30m')\` gives seconds, \`formatDuration(5400)\` gives words.
`,
  '.gitignore': 'node_modules/\n',
  'src/duration.js': `const SECONDS = { h: 3600, m: 60, s: 1 }

/** '1h30m' -> 5400; throws on anything else. */
export function parseDuration(text) {
  if (!/^(\\d+[hms])+$/.test(text)) throw new RangeError(\`not a duration: \${text}\`)
  let total = 0
  for (const [, amount, unit] of text.matchAll(/(\\d+)([hms])/g)) {
    ${DEMO_BUG.wrong}
  }
  return total
}

/** 5400 -> '1h 30m'; leaves out what is zero. */
export function formatDuration(seconds) {
  const parts = []
  for (const [unit, size] of Object.entries(SECONDS)) {
    const amount = Math.floor(seconds / size)
    if (amount > 0) parts.push(\`\${amount}\${unit}\`)
    seconds -= amount * size
  }
  return parts.join(' ') || '0s'
}
`,
  'test/duration.test.js': `import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatDuration, parseDuration } from '../src/duration.js'

test('parses one unit', () => {
  assert.equal(parseDuration('45s'), 45)
  assert.equal(parseDuration('3m'), 180)
})

test('adds up several units', () => {
  assert.equal(parseDuration('1h30m'), 5400)
  assert.equal(parseDuration('2m05s'), 125)
})

test('refuses what is no duration', () => {
  assert.throws(() => parseDuration('soon'), RangeError)
})

test('formats seconds', () => {
  assert.equal(formatDuration(5400), '1h 30m')
  assert.equal(formatDuration(0), '0s')
})
`,
}

/** Fills `directory` (made when it is not there) and commits it; no configuration of the user takes part. */
export async function makeDemoRepository(directory: string): Promise<{ commit: string }> {
  for (const [path, text] of Object.entries(FILES)) {
    await mkdir(dirname(join(directory, path)), { recursive: true })
    await writeFile(join(directory, path), text)
  }
  const git = async (...args: string[]) => {
    const env = { PATH: process.env.PATH ?? '', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', LC_ALL: 'C' }
    return (await promisify(execFile)('git', args, { cwd: directory, env })).stdout.trim()
  }
  await git('init', '--quiet', '--initial-branch=main')
  await git('config', 'user.name', 'Demo')
  await git('config', 'user.email', 'demo@localhost')
  await git('config', 'commit.gpgsign', 'false')
  await git('add', '--all')
  await git('commit', '--quiet', '--message=A timer for tea')
  return { commit: await git('rev-parse', 'HEAD') }
}
