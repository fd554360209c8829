#!/usr/bin/env node
/** The gateway daemon: reads argv, environment and signals, and starts the server. */
import '../host/young-generation.ts'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { isatty } from 'node:tty'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { RclaudeError } from '../protocol/errors.ts'
import { VERSION } from '../protocol/version.ts'
import { runCommand } from './commands.ts'
import { loadConfig } from './config.ts'
import { createLogger } from './log.ts'
import { type Gateway, startGateway } from './server.ts'

/** EX_TEMPFAIL of sysexits.h: another gateway has the data folder. */
const EXIT_ALREADY_RUNNING = 75
/** EX_CONFIG of sysexits.h */
const EXIT_CONFIG = 78

const HELP = `Usage: gateway [--config FILE] [--data DIR] [--local]
       gateway backup FILE|DIR [--without-key] [--json] [--config FILE] [--data DIR]
       gateway restore FILE|DIR [--json] [--config FILE] [--data DIR]

  backup   copy the data folder, also while a gateway works on it; FILE ends in .tar, .tar.gz or .tgz
  restore  make a new data folder of a backup that is whole; the gateway then waits for rclaude gateway confirm-restore

  --config FILE  configuration (see config.example.yaml); the environment goes over it
  --data DIR     data folder; over dataDirectory of the configuration
  --local        for one user on this machine: 127.0.0.1 and a free port unless configured
  --without-key  a backup without secret.key and admin-token, which open what it holds
  --json         write JSON for programs
  --version      print the version

Examples:
  gateway backup /backup/rclaude-monday.tar.gz --config config.yaml
  gateway restore /backup/rclaude-monday.tar.gz --data /var/lib/rclaude
`

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      data: { type: 'string' },
      local: { type: 'boolean', default: false },
      'without-key': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      version: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return void process.stdout.write(HELP)
  if (values.version) return void process.stdout.write(`${VERSION}\n`)
  const env = values.local ? { RCLAUDE_LISTEN__PORT: '0', ...process.env } : process.env
  const config = loadConfig(values.config, env)
  const dataDirectory = resolve(values.data ?? config.dataDirectory ?? defaultDataDirectory())
  if (positionals.length > 0) return await runCommand(positionals, { dataDirectory, ...values })
  const log = createLogger(config.log.level)
  // One request's fault must not end forty tasks' gateway: what matters is stored, and the fault is in the log.
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'a fault that nobody handled'))
  const agentScript = join(dirname(fileURLToPath(import.meta.url)), 'agent.js')
  const starting = startGateway({
    config,
    dataDirectory,
    version: VERSION,
    log,
    agentArgv: [process.execPath, agentScript],
    env: process.env,
  })
  // Before it is ready: whoever sees that it is may send a signal at once.
  reloadOnSignal(starting)
  stopOnSignals(starting)
  await starting
}

/** As daemons do. At a terminal the same signal says that the terminal is gone, and ends the gateway as it ends every program. */
function reloadOnSignal(starting: Promise<Gateway>): void {
  if (!isatty(0)) process.on('SIGHUP', () => void starting.then((gateway) => gateway.reload()).catch(() => {}))
}

function stopOnSignals(starting: Promise<Gateway>): void {
  let isStopping = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(1) // asked twice: at once
      isStopping = true
      starting
        .then((gateway) => gateway.stop())
        .then(
          () => process.exit(0),
          () => process.exit(1),
        )
    })
  }
}

function defaultDataDirectory(): string {
  if (process.env.XDG_DATA_HOME) return join(process.env.XDG_DATA_HOME, 'rclaude', 'gateway')
  return process.platform === 'darwin'
    ? join(homedir(), 'Library', 'Application Support', 'rclaude', 'gateway')
    : join(homedir(), '.local', 'share', 'rclaude', 'gateway')
}

main().catch((error: unknown) => {
  process.stderr.write(`gateway: ${error instanceof Error ? error.message : String(error)}\n`)
  if (process.env.RCLAUDE_DEBUG) console.error(error)
  const code = error instanceof RclaudeError ? error.code : undefined
  process.exit(code === 'conflict' ? EXIT_ALREADY_RUNNING : code === 'invalid' ? EXIT_CONFIG : 1)
})
