/** `rclaude exec` against its promises, and against `docker exec` where an engine can be had: see exec-conformance/cases.ts. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runProgram } from '../../cli/program.ts'
import type { World as ProgramWorld } from '../../cli/world.ts'
import { routes } from '../../protocol/routes.ts'
import { type DockerContainer, startDockerContainer } from '../helpers/docker-container.ts'
import { World } from '../helpers/world.ts'
import type { Case } from './exec-conformance/case.ts'
import { CASES } from './exec-conformance/cases.ts'

interface Result {
  code: number | null
  stdout: Buffer
  stderr: Buffer
}

/** Lies on standard input where there is no -i. */
const UNREAD = 'not for the process'
const PASSED_ON = { PASSED_ON: 'from here' }
const world = new World()
const children = new Set<ChildProcess>()
let taskId = ''
let docker: DockerContainer | string = 'not started'

beforeAll(async () => {
  const [engine] = await Promise.all([startDockerContainer(), world.startGateway()])
  docker = engine
  if (typeof docker === 'string') console.warn(`exec conformance: not compared with docker exec: ${docker}`)
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '1000'], workspace: { kind: 'none' } })
  taskId = id
  await world.state(id, 'running')
}, 60_000)

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  await world.ended(taskId)
  await Promise.all([world.close(), typeof docker === 'string' ? undefined : docker.close()])
}, 60_000)

describe.concurrent('exec', () => {
  for (const one of CASES)
    test(one.name, async () => {
      const ours = await runOurs(one)
      expect(ours.code, `${ours.stderr.subarray(0, 2_000)}`).toBe(one.code ?? 0)
      same('stdout', ours.stdout, one.stdout ?? '')
      same('stderr', ours.stderr, one.stderr ?? '')
      if (typeof docker === 'string') return
      const compared = one.differs === undefined ? (['code', 'stdout', 'stderr'] as const) : (one.differs.compare ?? [])
      if (compared.length === 0) return
      const theirs = await runDocker(docker, one)
      for (const what of compared) {
        if (what === 'code') expect(theirs.code, `exit code of docker exec; it said ${theirs.stderr}`).toBe(ours.code)
        else same(`${what} of docker exec`, theirs[what], ours[what])
      }
    })
})

/** Large buffers are not printed when they differ. */
function same(what: string, actual: Buffer, expected: string | Buffer | RegExp): void {
  if (expected instanceof RegExp) {
    expect(actual.toString(), what).toMatch(expected)
    return
  }
  const wanted = Buffer.from(expected)
  if (wanted.length < 10_000 && actual.length < 10_000)
    expect(actual.toString('latin1'), what).toBe(wanted.toString('latin1'))
  expect([what, actual.length, actual.equals(wanted)]).toEqual([what, wanted.length, true])
}

async function runOurs(one: Case): Promise<Result> {
  if (one.setup !== undefined) mustSucceed(await runInProcess([taskId, '--', 'sh', '-c', one.setup]))
  const words = [...optionsOf(one, one.cwd), taskId, '--', ...one.argv]
  return one.built === true
    ? run([process.execPath, join('dist', 'rclaude.js'), 'exec', ...words], one.stdin)
    : runInProcess(words, one.stdin)
}

/** The whole command, without the start of another Node. */
async function runInProcess(words: string[], stdin?: Buffer): Promise<Result> {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
  streams.stdin.end(stdin ?? UNREAD)
  const outputs = [buffer(streams.stdout), buffer(streams.stderr)] as const
  const code = await runProgram({
    ...(streams as unknown as Pick<ProgramWorld, 'stdin' | 'stdout' | 'stderr'>),
    argv: ['exec', ...words],
    env: environment(),
    cwd: world.directory,
    home: world.home,
    platform: process.platform,
    programs: resolve('dist'),
    afterDashes: undefined,
    exitCode: 0,
  })
  streams.stdout.end()
  streams.stderr.end()
  const [stdout, stderr] = await Promise.all(outputs)
  return { code, stdout, stderr }
}

async function runDocker(container: DockerContainer, one: Case): Promise<Result> {
  const { exec, name } = container
  if (one.setup !== undefined) mustSucceed(await run([...exec, name, 'sh', '-c', one.setup]))
  return run([...exec, ...optionsOf(one, one.cwd && `/work/${one.cwd}`), name, ...one.argv], one.stdin)
}

const optionsOf = (one: Case, cwd: string | undefined): string[] => [
  ...(one.stdin === undefined ? [] : ['-i']),
  ...(cwd === undefined ? [] : ['-w', cwd]),
  ...(one.user === undefined ? [] : ['-u', one.user]),
  ...(one.env ?? []).flatMap((variable) => ['-e', variable]),
]

function mustSucceed({ code, stderr }: Result): void {
  if (code !== 0) throw new Error(`the setup failed: ${stderr}`)
}

const environment = () => ({ ...world.userEnvironment(), ...world.asAdmin, ...PASSED_ON })

function run([program = '', ...args]: string[], stdin?: Buffer): Promise<Result> {
  const child = spawn(program, args, { env: environment() })
  children.add(child)
  const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  child.stdout.on('data', (chunk: Buffer) => parts.stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => parts.stderr.push(chunk))
  child.stdin.on('error', () => {})
  child.stdin.end(stdin ?? UNREAD)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      resolve({ code, stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr) }),
    )
  })
}
