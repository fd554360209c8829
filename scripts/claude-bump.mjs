/**
 * npm run claude:bump [-- VERSION]
 *
 * Pins another version of Claude Code (without VERSION: the newest on npm), then records its streams and tells what
 * changed. Nothing is committed: look at `git diff` first.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const PACKAGE = '@anthropic-ai/claude-code'
const pinned = () => JSON.parse(readFileSync('package.json', 'utf8')).devDependencies[PACKAGE]

const [wanted, ...more] = process.argv.slice(2)
if (more.length > 0) stop('usage: npm run claude:bump [-- VERSION]')
const version = wanted ?? npm(['view', PACKAGE, 'version'], 'pipe').trim()
if (!/^\d+\.\d+\.\d+$/.test(version)) stop(`${version} is no exact version, such as ${pinned()}`)

if (version === pinned()) console.log(`${PACKAGE} is pinned to ${version} already; recording it again`)
else {
  console.log(`${PACKAGE} ${pinned()} -> ${version}`)
  npm(['install', '--save-dev', '--save-exact', '--no-audit', '--no-fund', `${PACKAGE}@${version}`])
}
for (const file of ['Dockerfile.agent', 'docs/docker.md']) {
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, text.replaceAll(new RegExp(`${PACKAGE}@\\d+\\.\\d+\\.\\d+`, 'g'), `${PACKAGE}@${version}`))
}
npm(['run', '--silent', 'claude:record'])
console.log(`
Still to do:
  git diff                                    what is new, and is it all right to publish
  npx vitest run test/agent/adapters          every ending, against the real program
  npm run demo
  git add --all test/fixtures package.json package-lock.json Dockerfile.agent docs/docker.md && git commit`)

function npm(args, stdout = 'inherit') {
  const done = spawnSync('npm', args, { encoding: 'utf8', stdio: ['ignore', stdout, 'inherit'] })
  if (done.status !== 0) stop(`npm ${args.join(' ')} failed (${done.error?.message ?? `exit ${done.status}`})`)
  return done.stdout ?? ''
}

function stop(message) {
  console.error(message)
  process.exit(1)
}
