/**
 * Processes in the task, attached to by the CLI's own code: records go in at a steady pace, and every byte that comes out
 * is compared. The exit code is one that nothing else gives.
 */
import { createHash } from 'node:crypto'
import { Readable, Writable } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import { type Attached, startAttach } from '../../../cli/attach/attach.ts'
import { attachPath } from '../../../cli/attach/path.ts'
import type { ProcessExit, ProcessSpecInput } from '../../../protocol/process.ts'
import { between, bytesFrom } from '../../helpers/random.ts'
import { type Attachment, attachment, fired, type Stage, type Tally } from './attachment.ts'
import { Expected, Fault } from './expected.ts'

const PERIOD_MS = 200
/** Input that waits for a connection; beyond this the writer pauses, as a full pipe would make it. */
const MAX_WAITING_BYTES = 512 * 1024
const FLOOD_BYTES_PER_SECOND = 128 * 1024

/** Lines, echoed with brackets on stdout and as they are on stderr. */
export const lines = (stage: Stage, name: string): Attachment =>
  attachment(name, async (isReady) => {
    const code = between(stage.random, 1, 99)
    const script = `while read -r line; do echo "<$line>"; echo "$line" >&2; done; exit ${code}`
    const channels = { stdout: new Expected(`${name} stdout`), stderr: new Expected(`${name} stderr`) }
    return converse(stage, { argv: ['sh', '-c', script] }, channels, {
      until: fired(stage.ending),
      exit: { code, signal: null },
      record(n, sent) {
        const text = `${n} ${bytesFrom(stage.random, between(stage.random, 1, 100)).toString('hex')}`
        channels.stdout.expect(Buffer.from(`<${text}>\n`), () => {
          sent()
          isReady()
        })
        channels.stderr.expect(Buffer.from(`${text}\n`))
        return Buffer.from(`${text}\n`)
      },
    })
  })

/** Any bytes, through `cat`. */
export const binary = (stage: Stage, name: string): Attachment =>
  attachment(name, (isReady) => cat(stage, name, { argv: ['cat'] }, fired(stage.ending), 0, isReady))

/** What ran: each process says so once, in a file of the workspace. */
export interface Runs {
  started: string[]
  file: string
}

/** Processes of a few records each, one after another. */
export const churn = (stage: Stage, name: string, runs: Runs): Attachment =>
  attachment(name, async (isReady) => {
    const total: Tally = { checked: 0, retries: 0 }
    for (let n = 1; !stage.ending.aborted; n++) {
      const one = await brief(stage, `${name} process ${n}`, runs, between(stage.random, 100, 3_000), isReady)
      total.checked += one.checked
      total.retries += one.retries
    }
    return total
  })

/** One process, started so that its start is under way when something breaks. */
export const birth = (stage: Stage, name: string, runs: Runs): Attachment =>
  attachment(name, (isReady) => brief(stage, name, runs, 100, isReady))

function brief(stage: Stage, name: string, runs: Runs, forMs: number, isReady: () => void): Promise<Tally> {
  const code = between(stage.random, 1, 99)
  const id = name.replaceAll(' ', '-')
  runs.started.push(id)
  const argv = ['sh', '-c', `echo "$0" >> ${runs.file}; cat; exit ${code}`, id]
  const until = new Promise<void>((resolve) => setTimeout(resolve, forMs))
  return cat({ ...stage, echoes: [] }, name, { argv }, until, code, isReady) // the first record waits for the start
}

/** Nothing comes back before the end: a checksum of everything that went in. */
export const digest = (stage: Stage, name: string): Attachment =>
  attachment(name, async (isReady) => {
    const code = between(stage.random, 1, 99)
    const sum = createHash('sha256')
    const channels = { stdout: new Expected(`${name} stdout`), stderr: new Expected(`${name} stderr`) }
    let fed = 0
    const spec = { argv: ['sh', '-c', `echo ready >&2; sha256sum; exit ${code}`] }
    channels.stderr.expect(Buffer.from('ready\n'), isReady)
    const tally = await converse(stage, spec, channels, {
      until: fired(stage.ending),
      exit: { code, signal: null },
      record() {
        const bytes = bytesFrom(stage.random, between(stage.random, 1, 64 * 1024))
        sum.update(bytes)
        fed += bytes.length
        return bytes
      },
      beforeEnd: () => channels.stdout.expect(Buffer.from(`${sum.digest('hex')}  -\n`)),
    })
    return { ...tally, checked: tally.checked + fed }
  })

/** More output than the reader takes, for the whole storm; it is ended by a signal, and its exit says so. */
export const flood = (stage: Stage, name: string): Attachment =>
  attachment(name, async (isReady) => {
    const stdout = new Expected(`${name} stdout`)
    let next = 1
    const prepare = (bytes: number) => {
      while (stdout.outstanding < bytes) {
        const block = Array.from({ length: 1_000 }, () => `${next++}\n`).join('')
        stdout.expect(Buffer.from(block))
      }
    }
    const reader = new Writable({
      write(chunk: Buffer, _encoding, done) {
        prepare(chunk.length)
        const error = faultOf(() => stdout.accept(chunk))
        isReady()
        if (error !== undefined || stage.ending.aborted) return done(error)
        setTimeout(done, (chunk.length / FLOOD_BYTES_PER_SECOND) * 1_000)
      },
    })
    const started = start(stage, { argv: ['seq', '1', '1000000000'] }, { stdout: reader, stderr: sink() })
    void fired(stage.ending).then(() => started.attached.signal('SIGTERM'))
    expectExit(name, await started.attached.exit, { code: null, signal: 'SIGTERM' })
    return { checked: stdout.received, retries: started.retries() }
  })

function cat(
  stage: Stage,
  name: string,
  spec: ProcessSpecInput,
  until: Promise<void>,
  code: number,
  isReady: () => void,
): Promise<Tally> {
  const channels = { stdout: new Expected(`${name} stdout`), stderr: new Expected(`${name} stderr`) }
  return converse(stage, spec, channels, {
    until,
    exit: { code, signal: null },
    record(_n, sent) {
      const bytes = bytesFrom(stage.random, between(stage.random, 1, 16 * 1024))
      channels.stdout.expect(bytes, () => {
        sent()
        isReady()
      })
      return bytes
    },
  })
}

interface Conversation {
  /** Input ends then. */
  until: Promise<void>
  exit: ProcessExit
  /** Says what the record makes due, and gives the record. `sent` is to be called when its echo is whole. */
  record(n: number, sent: () => void): Buffer
  beforeEnd?: () => void
}

async function converse(
  stage: Stage,
  spec: ProcessSpecInput,
  channels: { stdout: Expected; stderr: Expected },
  { until, exit, record, beforeEnd }: Conversation,
): Promise<Tally> {
  const stdin = new Readable({ read() {} })
  const { attached, retries } = start(
    stage,
    { ...spec, stdin: true },
    { stdout: checked(channels.stdout), stderr: checked(channels.stderr) },
    stdin,
  )
  let n = 0
  const say = () => {
    if (stdin.readableLength > MAX_WAITING_BYTES) return
    const sentAtMs = performance.now()
    stdin.push(record(++n, () => stage.echoes.push({ sentAtMs, tookMs: performance.now() - sentAtMs })))
  }
  const timer = setInterval(say, PERIOD_MS * (0.9 + 0.2 * stage.random()))
  const end = until.then(() => {
    clearInterval(timer)
    beforeEnd?.()
    stdin.push(null)
  })
  try {
    say()
    const got = await attached.exit
    await Promise.race([end, Promise.reject(new Fault(`${spec.argv.join(' ')} exited before its input had ended`))])
    for (const channel of [channels.stdout, channels.stderr]) channel.end()
    expectExit(spec.argv.join(' '), got, exit)
    return { checked: channels.stdout.received + channels.stderr.received, retries: retries() }
  } finally {
    clearInterval(timer)
  }
}

function start(
  stage: Stage,
  spec: ProcessSpecInput,
  outputs: { stdout: Writable; stderr: Writable },
  stdin?: Readable,
): { attached: Attached; retries: () => number } {
  let retries = 0
  let fault: Fault | undefined
  const leaving = new AbortController()
  const fail = (message: string) => {
    fault ??= new Fault(message)
    leaving.abort(fault)
  }
  const base = `${stage.client.baseUrl.replace(/^http/, 'ws')}/v1/tasks/${stage.taskId}`
  const attached = startAttach({
    ...outputs,
    ...(stdin && { stdin }),
    connect: (point) => ({ url: base + attachPath(point, spec), headers: stage.client.headers }),
    signal: leaving.signal,
    onReconnect: () => {
      retries++
    },
    onGap: ({ channel, from, to }) => fail(`${spec.argv.join(' ')}: a gap in ${channel}, ${from} to ${to}`),
    onError: ({ message }) => fail(`${spec.argv.join(' ')}: the agent says: ${message}`),
  })
  return { attached, retries: () => retries }
}

const checked = (expected: Expected): Writable =>
  new Writable({ write: (chunk: Buffer, _encoding, done) => done(faultOf(() => expected.accept(chunk))) })

const sink = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() })

function faultOf(check: () => void): Error | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function expectExit(what: string, got: ProcessExit, wanted: ProcessExit): void {
  if (!isDeepStrictEqual(got, wanted))
    throw new Fault(`${what}: exit ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`)
}
