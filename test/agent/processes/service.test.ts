import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { ManagedProcess } from '../../../agent/processes/managed-process.ts'
import type { ProcessServiceOptions } from '../../../agent/processes/service.ts'
import { newProcessId } from '../../../protocol/ids.ts'
import { ProcessSpec, type ProcessSpecInput } from '../../../protocol/process.ts'
import { isAlive, type Loopback, startLoopback, until } from '../http/loopback.ts'

let loopback: Loopback | undefined

afterEach(async () => {
  await loopback?.close()
  loopback = undefined
})

async function serviceWith(options: Partial<ProcessServiceOptions> = {}) {
  loopback = await startLoopback(options)
  return loopback
}

const spec = (input: ProcessSpecInput) => ProcessSpec.parse(input)
const shell = (script: string, more: Partial<ProcessSpecInput> = {}) => spec({ argv: ['sh', '-c', script], ...more })

async function output(process: ManagedProcess, channel: 'stdout' | 'stderr' = 'stdout'): Promise<string> {
  const parts: Buffer[] = []
  for await (const piece of process.journal[channel].read(0, { follow: true })) {
    if (piece.kind === 'gap') throw new Error('unexpected gap')
    parts.push(piece.bytes)
  }
  return Buffer.concat(parts).toString('latin1')
}

describe('a process', () => {
  it('runs exactly the argv given, in the workspace, with the environment given and nothing of ours', async () => {
    const { service, workspace } = await serviceWith()
    process.env.RCLAUDE_TEST_LEAK = 'leaked'
    const started = await service.start(
      spec({ argv: ['sh', '-c', 'pwd; echo "$1|$X|$RCLAUDE_TEST_LEAK|"', 'name', 'a  *b'], env: { X: 'y' } }),
    )
    delete process.env.RCLAUDE_TEST_LEAK
    expect(await output(started)).toBe(`${workspace}\na  *b|y||\n`)
    expect(await started.finished).toEqual({ code: 0, signal: null })
  })

  it('tells its exit code, or the signal that ended it', async () => {
    const { service } = await serviceWith()
    expect(await (await service.start(shell('exit 7'))).finished).toEqual({ code: 7, signal: null })
    expect(await (await service.start(shell('kill -9 $$'))).finished).toEqual({ code: null, signal: 'SIGKILL' })
  })

  it('is stopped when its time is over, and says so', async () => {
    const { service } = await serviceWith()
    const started = await service.start(spec({ argv: ['sleep', '60'], timeoutSeconds: 0.1 }))
    expect(await started.finished).toEqual({ code: null, signal: 'SIGINT', reason: 'timeout' })
  })

  it('is killed when it ignores interrupt and TERM', async () => {
    const { service } = await serviceWith({ stopGraceMs: 150 })
    const started = await service.start(shell("trap '' INT TERM; echo ready; while :; do sleep 0.05; done"))
    await until('the traps are set', () => started.journal.stdout.end > 0)
    expect(await started.stop()).toEqual({ code: null, signal: 'SIGKILL', reason: 'stopped' })
    expect(await isAlive(started.info().pid ?? -1)).toBe(false)
  })

  it('takes a grandchild with it that left the process group', async () => {
    const { service, workspace } = await serviceWith()
    const started = await service.start(
      shell('setsid sh -c "echo \\$\\$ > pid; exec sleep 300" </dev/null >/dev/null 2>&1 & sleep 300'),
    )
    let pid = 0
    await until('the grandchild runs', async () => {
      pid = Number(await readFile(join(workspace, 'pid'), 'utf8').catch(() => ''))
      return pid > 0
    })
    expect(await isAlive(pid)).toBe(true)
    await started.stop()
    expect(await isAlive(pid)).toBe(false)
  })

  it('takes what it left in the background with it when it exits by itself', async () => {
    const { service } = await serviceWith()
    const started = await service.start(shell('sleep 300 & echo $!; setsid sleep 300 & echo $!'))
    const pids = (await output(started)).trim().split('\n').map(Number)
    await started.finished
    expect(pids).toHaveLength(2)
    expect(await Promise.all(pids.map(isAlive))).toEqual([false, false])
  })

  it('loses nothing that it wrote before it exited, however long its client makes it wait', async () => {
    const { service } = await serviceWith({ journal: { windowBytes: 10_000 } })
    // More than one read takes, in writes that are large enough for the pipe to hold the rest: many small ones fill it sooner.
    const started = await service.start(shell('dd if=/dev/zero bs=60000 count=2 status=none'), { attached: true })
    const client = started.attach({ stdout: 0, stderr: 0 }, () => {})
    await started.exited
    await new Promise((resolve) => setTimeout(resolve, 1_500)) // longer than the silence after which a pipe is given up
    expect(started.journal.stdout.end).toBeLessThan(120_000)
    for await (const piece of started.journal.stdout.read(0, { follow: true })) {
      if (piece.kind === 'gap') throw new Error('unexpected gap')
      client.consumed({ stdout: piece.offset + piece.bytes.length, stderr: 0 })
    }
    expect(started.journal.stdout.end).toBe(120_000)
    expect(await started.finished).toEqual({ code: 0, signal: null })
  })

  it('ends although something that hid its environment still holds its output open', async () => {
    const { service } = await serviceWith()
    const started = await service.start(shell('setsid env -i sleep 300 & echo $!'))
    await until('its pid is told', () => started.journal.stdout.end > 0)
    expect((await started.finished).code).toBe(0)
    const pid = Number(await output(started))
    if (await isAlive(pid)) process.kill(pid, 'SIGKILL')
  })
})

describe('standard input', () => {
  it('is applied once, whatever is sent twice, and refuses a hole', async () => {
    const { service } = await serviceWith()
    const started = await service.start(spec({ argv: ['cat'], stdin: true }))
    started.stdin.write(0, Buffer.from('hello '))
    started.stdin.write(0, Buffer.from('hello wor'))
    started.stdin.write(4, Buffer.from('o wor'))
    expect(() => started.stdin.write(10, Buffer.from('x'))).toThrow(/offset 10, but has only 9/)
    started.stdin.write(9, Buffer.from('ld'))
    started.stdin.end()
    started.stdin.end()
    expect(() => started.stdin.write(11, Buffer.from('x'))).toThrow(/has had the end/)
    expect(await output(started)).toBe('hello world')
  })

  it('is empty from the start unless asked for', async () => {
    const { service } = await serviceWith()
    const started = await service.start(spec({ argv: ['cat'] }))
    expect(await output(started)).toBe('')
    expect(() => started.stdin.write(0, Buffer.from('x'))).toThrow(/without standard input/)
  })

  it('survives a process that does not read it', async () => {
    const { service } = await serviceWith()
    const started = await service.start(spec({ argv: ['true'], stdin: true }))
    await started.finished
    started.stdin.write(0, Buffer.alloc(1_000_000))
    await until('it was given up', () => started.stdin.pending === 0)
    expect(started.stdin.accepted).toBe(1_000_000)
  })
})

describe('the service', () => {
  it('refuses a program that is not there, a directory that is not there, and one outside', async () => {
    const { service } = await serviceWith()
    await expect(service.start(spec({ argv: ['no-such-program'] }))).rejects.toMatchObject({
      code: 'program_missing',
      message: expect.stringContaining('no-such-program'),
    })
    for (const cwd of ['missing', '..', '../workspace-2', '/', '/etc', 'a/../../b', 'x\0y'])
      await expect(service.start(spec({ argv: ['true'], cwd })), cwd).rejects.toMatchObject({ code: 'invalid' })
    expect(service.list()).toEqual([])
  })

  it('finds the first process when a start is repeated under its id, and refuses another command', async () => {
    const { service } = await serviceWith()
    const id = newProcessId()
    const starts = await Promise.all([1, 2, 3].map(() => service.start(spec({ argv: ['true'] }), { id })))
    expect(new Set(starts).size).toBe(1)
    expect(await service.start(spec({ argv: ['true'] }), { id })).toBe(starts[0])
    await expect(service.start(spec({ argv: ['false'] }), { id })).rejects.toMatchObject({ code: 'conflict' })
  })

  it('runs 100 processes at once and keeps their outputs apart', async () => {
    const { service } = await serviceWith()
    const started = await Promise.all(
      Array.from({ length: 100 }, (_, i) => service.start(shell(`echo ${i}; exit ${i}`))),
    )
    const exits = await Promise.all(started.map((one) => one.finished))
    expect(exits.map(({ code }) => code)).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(await Promise.all(started.map((one) => output(one)))).toEqual(
      Array.from({ length: 100 }, (_, i) => `${i}\n`),
    )
  })

  it('refuses one more than its limit, with a code of its own', async () => {
    const { service } = await serviceWith({ limits: { running: 3 } })
    const starts = await Promise.allSettled([1, 2, 3, 4].map(() => service.start(spec({ argv: ['sleep', '60'] }))))
    const refused = starts.filter((one) => one.status === 'rejected')
    expect(refused.map((one) => one.reason)).toEqual([expect.objectContaining({ code: 'limit' })])
    await service.list()[0]?.stop()
    await service.start(spec({ argv: ['true'] }))
  })

  it('remembers only the newest of the ended processes', async () => {
    const { service } = await serviceWith({ limits: { ended: 2 } })
    const ids: string[] = []
    for (let i = 0; i < 5; i++) {
      const started = await service.start(shell('true'))
      await started.finished
      ids.push(started.id)
    }
    expect(service.list().map(({ id }) => id)).toEqual(ids.slice(3))
    expect(() => service.get(ids[0] ?? '')).toThrow(/there is no process/)
  })

  it('stops all at the same time, those being started too, and starts none after its end', async () => {
    const { service } = await serviceWith({ stopGraceMs: 200 })
    const stubborn = shell("trap '' INT TERM; while :; do sleep 0.05; done")
    const started = await Promise.all(Array.from({ length: 5 }, () => service.start(stubborn)))
    const pids = started.map((one) => one.info().pid ?? -1)
    const late = service.start(shell('sleep 60'))
    const before = Date.now()
    await service.close()
    expect(Date.now() - before).toBeLessThan(5 * 400)
    expect(await Promise.all([...pids, (await late).info().pid ?? -1].map(isAlive))).not.toContain(true)
    await expect(service.start(stubborn)).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('lets a process go on when its journals cannot be written at all', async () => {
    const { service } = await serviceWith({ directory: '/etc/passwd/journals' })
    const started = await service.start(shell('head -c 3000000 /dev/zero; exit 4', { detached: true }))
    expect(await started.finished).toEqual({ code: 4, signal: null })
    const pieces = []
    for await (const piece of started.journal.stdout.read(0, { follow: true })) pieces.push(piece)
    expect(pieces.some((piece) => piece.kind === 'gap')).toBe(true)
    expect(started.journal.stdout.end).toBe(3_000_000)
  })
})
