/** Tries the packed tarball as a user gets it: in an empty folder, with an empty HOME, and nothing of this project around. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Refusal, run } from './run.mjs'

/** What better-sqlite3 needs to run. */
const NATIVE = ['better-sqlite3', 'bindings', 'file-uri-to-path']

export async function tryInstalled({ tarball, version, install }) {
  const folder = mkdtempSync(join(tmpdir(), 'rclaude-release-'))
  try {
    const [home, project] = [join(folder, 'home'), join(folder, 'project')]
    for (const path of [home, project]) mkdirSync(path)
    if (install) installInto(project, tarball, home)
    else unpackInto(project, tarball)
    use(join(project, 'node_modules', 'rclaude', 'dist', 'rclaude.js'), { home, folder, version })
    console.log(`${install ? 'installed' : 'unpacked'} into an empty folder, it says its version and runs a task`)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** All is empty but for npm's own settings (registry, headers to compile with) and its cache. */
function installInto(project, tarball, home) {
  const manifest = { private: true, allowScripts: { 'better-sqlite3': true } }
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest))
  const setting = (name) => run('npm', ['config', 'get', name]).trim()
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball], {
    cwd: project,
    emptyEnv: true,
    env: {
      PATH: process.env.PATH ?? '',
      HOME: home,
      npm_config_userconfig: setting('userconfig'),
      npm_config_cache: setting('cache'),
    },
  })
}

function unpackInto(project, tarball) {
  const target = join(project, 'node_modules', 'rclaude')
  mkdirSync(target, { recursive: true })
  run('tar', ['-xzf', tarball, '--strip-components=1', '-C', target])
  for (const name of NATIVE) {
    const source = resolve('node_modules', name)
    if (existsSync(source)) symlinkSync(source, join(project, 'node_modules', name))
  }
}

function use(program, { home, folder, version }) {
  const rclaude = (...args) =>
    run(process.execPath, [program, ...args], {
      cwd: folder,
      emptyEnv: true,
      env: { PATH: process.env.PATH ?? '', HOME: home },
      timeoutMs: 120_000,
    })
  const said = rclaude('--version').trim()
  if (said !== version) throw new Refusal(`the installed rclaude calls itself ${said}, not ${version}`)
  try {
    const output = rclaude('run', '--unsandboxed', '--no-workspace', '--', 'echo', 'hi')
    if (!/^hi$/m.test(output)) throw new Refusal(`the installed rclaude ran "echo hi" and said:\n${output}`)
  } finally {
    rclaude('gateway', 'stop')
  }
}
