/**
 * `npm run bench:sync`: `rclaude sync` beside `rsync -e ssh` through an sshd of the bench's own, on loopback, run by run in
 * turn: 10,000 files of 100 MB for the first time, one changed file, nothing changed. Both are whole programs, from start to
 * exit. Linux only.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Children } from '../tunnel/children.ts'
import { machineLine } from '../tunnel/machine.ts'
import { HOW_TO_INSTALL, startSsh } from '../tunnel/peers/ssh.ts'
import { median } from '../tunnel/stats.ts'
import { atMost, missesIn, printTable, type Row, ratio, type Table } from '../tunnel/table.ts'
import { Gateway } from '../tunnel/world.ts'

const FILES = 10_000
const FILE_BYTES = 10_000
const FOLDERS = 100
const ROUNDS = Number(process.env.ROUNDS ?? 5)
const MOST_FIRST = 1.2
const MOST_AGAIN = 1

interface Times {
  ours: number[]
  rsync: number[]
  /** With `-z`, as many type it. */
  rsyncZ: number[]
}

/** Of one round. */
const NEEDED_BYTES = 5 * FILES * FILE_BYTES
const MEMORY = '/dev/shm'

/**
 * Where the files lie: in memory, unless TMPDIR says elsewhere. There each round gives back what it took, so that none has to be
 * given memory that nobody has touched. On a disk nothing is deleted before the end: a new file on ext4 was seen
 * to take 0.2 to 0.6 ms of the kernel's time after many had been deleted, whoever had deleted them, and 0.02 ms in memory.
 */
function chooseFolder(): void {
  if (process.env.TMPDIR !== undefined || !existsSync(MEMORY)) return
  const { bavail, bsize } = statfsSync(MEMORY)
  if (bavail * bsize > 2 * NEEDED_BYTES) process.env.TMPDIR = MEMORY
}

const isInMemory = () => tmpdir() === MEMORY

async function main(): Promise<void> {
  chooseFolder()
  const children = new Children()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => void children.close().then(() => process.exit(130)))
  try {
    const table = await measure(children)
    console.log(`${machineLine()}\n\n${printTable(table)}`)
    const misses = missesIn([table])
    console.log(`\n${misses.length} missed${misses.map((miss) => `\n  ${miss}`).join('')}`)
  } finally {
    await children.close()
  }
}

async function measure(children: Children): Promise<Table> {
  const source = join(children.directory, 'source')
  makeFiles(source)
  const gateway = new Gateway(children, { name: 'gateway', cpuProf: undefined })
  await gateway.start()
  const blank = join(children.directory, 'blank')
  writeFileSync(blank, '')
  const taskId = await gateway.startTask(blank)
  const workspace = join(gateway.data, 'run', taskId, 'work')
  const ssh = hasRsync() ? await startSsh(children) : undefined

  const sync = (folder: string, directory: string, ...more: string[]) =>
    timed(process.execPath, [resolve('dist/rclaude.js'), 'sync', `${taskId}:${folder}`, directory, ...more], {
      HOME: gateway.directory,
      RCLAUDE_GATEWAY: gateway.url,
      RCLAUDE_TOKEN: gateway.token,
    })
  const rsync = async (from: string, to: string, ...flags: string[]) => {
    if (ssh === undefined) return Number.NaN
    const shell = ssh.command([]).slice(0, -1).join(' ')
    return await timed('rsync', ['-a', ...flags, '-e', shell, `${from}/`, `127.0.0.1:${to}/`], {})
  }

  const [first, changed, nothing, fetched] = Array.from({ length: 4 }, () => noTimes()) as [Times, Times, Times, Times]
  for (let round = 0; round < ROUNDS; round++) {
    const copies = [`r${round}`, `r${round}-a`, `r${round}-z`].map((name) => join(workspace, name)) as [
      string,
      string,
      string,
    ]
    const all = async (times: Times) => {
      const runs = [
        async () => times.ours.push(await sync(`r${round}`, source, '--to')),
        async () => times.rsync.push(await rsync(source, copies[1])),
        async () => times.rsyncZ.push(await rsync(source, copies[2], '-z')),
      ]
      for (let n = 0; n < runs.length; n++) {
        settleDisk()
        await runs[(n + round) % runs.length]?.()
      }
    }
    await all(first)
    writeFileSync(join(source, 'folder-7', 'file-7.txt'), `changed in round ${round}\n`)
    await all(changed)
    await all(nothing)
    for (const copy of copies) if (ssh !== undefined) sameAs(source, copy)
    const back = join(children.directory, `back${round}`)
    mkdirSync(back)
    settleDisk()
    fetched.ours.push(await sync(`r${round}`, back, '--from'))
    sameAs(source, back)
    if (isInMemory()) for (const path of [...copies, back]) rmSync(path, { recursive: true, force: true })
    process.stderr.write(`round ${round + 1} of ${ROUNDS}\n`)
  }
  const label = `${FILES.toLocaleString('en-US')} files, ${(FILES * FILE_BYTES) / 1e6} MB`
  return {
    name: 'sync',
    title: `SYNC: ${label}; seconds from start to exit, median of ${ROUNDS}, in turn`,
    columns: ['row', 'rclaude sync', 'rsync -a', 'rsync -az', 'to -a', 'to -az'],
    rows: [
      row('first sync', first, MOST_FIRST),
      row('one changed file', changed, MOST_AGAIN),
      row('nothing changed', nothing, undefined),
      row('first sync, other way', fetched, undefined),
    ],
    notes: [
      `files in ${tmpdir()}`,
      ssh === undefined ? HOW_TO_INSTALL : 'to reach: against rsync -a, the quicker of the two on loopback',
    ],
  }
}

const noTimes = (): Times => ({ ours: [], rsync: [], rsyncZ: [] })

function row(name: string, { ours, rsync, rsyncZ }: Times, most: number | undefined): Row {
  const [mine, plain, packed] = [median(ours), median(rsync), median(rsyncZ)]
  const cell = (seconds: number) => (Number.isFinite(seconds) ? seconds.toFixed(3) : undefined)
  const isKnown = most !== undefined && Number.isFinite(plain)
  return {
    cells: [name, cell(mine), cell(plain), cell(packed), ratio(mine, plain), ratio(mine, packed)],
    ...(isKnown && { reach: [atMost(mine / plain, most, ' x')] }),
  }
}

/** What the run before wrote is not paid for by the next. */
const settleDisk = () => execFileSync('sync')

/** Seconds until it has ended. @throws when it fails */
function timed(program: string, args: string[], env: Record<string, string>): Promise<number> {
  const startedAt = performance.now()
  return new Promise((done, reject) => {
    const child = spawn(program, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) done((performance.now() - startedAt) / 1000)
      else reject(new Error(`${program} ended with ${code}: ${stderr}`))
    })
  })
}

/** Text that packs about as well as source code does. */
function makeFiles(root: string): void {
  for (let folder = 0; folder < FOLDERS; folder++) mkdirSync(join(root, `folder-${folder}`), { recursive: true })
  for (let file = 0; file < FILES; file++) {
    let text = ''
    for (let line = 0; text.length < FILE_BYTES; line++)
      text += `const value${line} = compute(${Math.random()}, "${file}")\n`
    writeFileSync(join(root, `folder-${file % FOLDERS}`, `file-${file}.txt`), text.slice(0, FILE_BYTES))
  }
}

/** A bench whose copy is wrong measures nothing. */
function sameAs(source: string, copy: string): void {
  for (let file = 0; file < FILES; file += 997) {
    const path = join(`folder-${file % FOLDERS}`, `file-${file}.txt`)
    if (!readFileSync(join(source, path)).equals(readFileSync(join(copy, path))))
      throw new Error(`${copy}/${path} differs`)
  }
  statSync(join(copy, 'folder-7', 'file-7.txt'))
}

function hasRsync(): boolean {
  try {
    execFileSync('rsync', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`bench:sync: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
