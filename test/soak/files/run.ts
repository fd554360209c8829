/**
 * One large file up and down, by `rclaude cp` that is killed in the middle and begun again, and by plain HTTP, while the memory of
 * gateway, agent and client is watched. Real programs from dist/.
 */
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream, readFileSync, rmSync } from 'node:fs'
import { mkdtemp, stat } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type BenchGateway, startBenchGateway, until } from '../../../bench/gateway.ts'
import { routes } from '../../../protocol/routes.ts'
import { rssOf } from '../../helpers/memory.ts'

export interface FilesReport {
  /** What did not come out as it went in. */
  faults: string[]
  /** Most resident memory of each program, in bytes, by step. */
  steps: Array<{ step: string; seconds: number; gateway: number; agent: number; client: number }>
}

const BLOCK = 1024 ** 2
const SAMPLE_MS = 50

export async function soakFiles(size: number, log: (line: string) => void): Promise<FilesReport> {
  const folder = await mkdtemp(join(process.env.RCLAUDE_SOAK_TMP ?? tmpdir(), 'rclaude-soak-files-'))
  const gateway = await startBenchGateway()
  try {
    return await run({ size, folder, gateway, log })
  } finally {
    await gateway.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Scene {
  size: number
  folder: string
  gateway: BenchGateway
  log(line: string): void
}

async function run({ size, folder, gateway, log }: Scene): Promise<FilesReport> {
  const { api } = gateway
  const { id } = await api.call(routes.createTask, {
    body: { agent: 'command', command: ['sleep', '100000'], workspace: { kind: 'none' } },
  })
  const task = () => api.call(routes.getTask, { params: { taskId: id } })
  await until(async () => (await task()).state === 'running')
  const now = await task()
  const agentPid = now.state === 'running' ? Number(now.placement.handle) : 0
  const original = join(folder, 'original')
  const expected = await makeFile(original, size)
  const report: FilesReport = { faults: [], steps: [] }

  /** @param client its pid, once there is one */
  async function step(name: string, work: (client: (pid: number | undefined) => void) => Promise<string | undefined>) {
    const peak = { gateway: 0, agent: 0, client: 0 }
    let clientPid: number | undefined = process.pid
    const timer = setInterval(() => {
      peak.gateway = Math.max(peak.gateway, residentBytes(gateway.pid))
      peak.agent = Math.max(peak.agent, residentBytes(agentPid))
      peak.client = Math.max(peak.client, residentBytes(clientPid))
    }, SAMPLE_MS)
    const begun = performance.now()
    const hash = await work((pid) => {
      clientPid = pid
    })
    clearInterval(timer)
    const seconds = (performance.now() - begun) / 1000
    report.steps.push({ step: name, seconds, ...peak })
    log(`${name}: ${seconds.toFixed(1)} s`)
    if (hash !== undefined && hash !== expected) report.faults.push(`${name}: what arrived is not what was sent`)
  }

  const copy = (from: string, to: string, killAt?: number) => (client: (pid: number | undefined) => void) =>
    rclaude(gateway, ['cp', from, to], client, killAt)
  const target = `${id}:big.bin`
  const address = `${gateway.url}/v1/tasks/${id}/files/big.bin`
  await step('cp up, killed half-way', copy(original, target, size * 0.5))
  await step('cp up, begun again', copy(original, target))
  await step('HTTP down', () => download(gateway, address))
  const back = join(folder, 'back')
  await step('cp down, killed half-way', copy(target, back, size * 0.5))
  await step('cp down, begun again', copy(target, back))
  await step('what cp brought', () => hashOf(back))
  await step('HTTP up', () => upload(gateway, address, original))
  await step('HTTP down again', () => download(gateway, address))

  await api.call(routes.stopTask, { params: { taskId: id }, body: {} })
  await until(async () => (await task()).state === 'ended')
  return report
}

/** @returns its SHA-256; each block is random, and begins with its number */
async function makeFile(path: string, size: number): Promise<string> {
  const hash = createHash('sha256')
  const block = randomBytes(BLOCK)
  async function* blocks() {
    for (let at = 0; at < size; at += BLOCK) {
      const piece = Buffer.from(block.subarray(0, Math.min(BLOCK, size - at)))
      piece.writeDoubleLE(at, 0)
      hash.update(piece)
      yield piece
    }
  }
  await pipeline(blocks, createWriteStream(path))
  return hash.digest('hex')
}

/** @param killAt once it has moved so many bytes it is killed */
async function rclaude(
  { url, token }: BenchGateway,
  args: string[],
  client: (pid: number | undefined) => void,
  killAt?: number,
): Promise<undefined> {
  const child = spawn(process.execPath, [resolve('dist/rclaude.js'), ...args], {
    env: { PATH: process.env.PATH ?? '', HOME: tmpdir(), RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: token },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  client(child.pid)
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  const watching = setInterval(() => {
    if (killAt !== undefined && movedBytes(child.pid) > killAt) child.kill('SIGKILL')
  }, 5)
  const [code, signal] = await new Promise<[number | null, string | null]>((done) =>
    child.once('close', (...ended) => done(ended)),
  )
  clearInterval(watching)
  client(undefined)
  if (code !== 0 && (killAt === undefined || signal !== 'SIGKILL'))
    throw new Error(`rclaude ${args.join(' ')}: ${said}`)
  if (killAt !== undefined && signal !== 'SIGKILL') throw new Error('the copy was done before it could be killed')
  return undefined
}

function download({ token }: BenchGateway, address: string): Promise<string> {
  return new Promise((done, fail) => {
    const asked = request(address, { headers: { authorization: `Bearer ${token}` } }, (response) => {
      if (response.statusCode !== 200) return fail(new Error(`GET: ${response.statusCode}`))
      hashStream(response).then(done, fail)
    })
    asked.on('error', fail).end()
  })
}

async function upload({ token }: BenchGateway, address: string, file: string): Promise<undefined> {
  const { size } = await stat(file)
  const asked = request(address, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-length': size },
  })
  const status = new Promise<number | undefined>((done, fail) => {
    asked.once('response', (response) => done(response.resume().statusCode)).once('error', fail)
  })
  await pipeline(createReadStream(file), asked)
  if (((await status) ?? 500) >= 300) throw new Error(`PUT: ${await status}`)
  return undefined
}

const hashOf = (file: string) => hashStream(createReadStream(file, { highWaterMark: BLOCK }))

async function hashStream(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  for await (const bytes of stream) hash.update(bytes)
  return hash.digest('hex')
}

/** 0 when it is gone. */
function residentBytes(pid: number | undefined): number {
  return unlessGone(() => rssOf(pid ?? 0))
}

/** What a copy has read of its file, or of its connection. */
function movedBytes(pid: number | undefined): number {
  return unlessGone(() => Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? 0))
}

function unlessGone(look: () => number): number {
  try {
    return look()
  } catch {
    return 0
  }
}
