import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { findByEnvironment, mayHaveLeftProcesses } from '../../host/processes.ts'
import { eventually } from '../helpers/eventually.ts'

const VARIABLE = 'RCLAUDE_TEST_MARK'

function sleeper(mark: string, argv: string[] = ['sleep', '60']) {
  const [program = '', ...args] = argv
  const child = spawn(program, args, { env: { PATH: process.env.PATH, [VARIABLE]: mark }, stdio: 'ignore' })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

test('processes are found by the value of a variable, however many ask at once, and a call never sees an older look', async () => {
  const one = sleeper('one')
  const two = sleeper('two')
  await eventually('both run', async () => (await findByEnvironment(VARIABLE, 'two')).includes(two.pid ?? 0))
  const found = await Promise.all(
    Array.from({ length: 50 }, (_, at) => findByEnvironment(VARIABLE, at % 2 === 0 ? 'one' : 'two')),
  )
  for (const [at, pids] of found.entries()) expect(pids).toEqual([at % 2 === 0 ? one.pid : two.pid])
  // One that began while another look was under way is not in that look; whoever asks after it was started must see it.
  const early = findByEnvironment(VARIABLE, 'late')
  const late = sleeper('late')
  await once(late, 'spawn')
  await eventually('it runs its program', async () =>
    (await findByEnvironment(VARIABLE, 'late')).includes(late.pid ?? 0),
  )
  await early
  late.kill('SIGKILL')
  await once(late, 'exit')
  expect(await findByEnvironment(VARIABLE, 'late')).toEqual([])
  expect(await findByEnvironment(VARIABLE, 'on')).toEqual([])
})

test('a process that left another behind is never taken for one that left none', async () => {
  const leaver = sleeper('left', ['sh', '-c', 'setsid sleep 60 & exit 0'])
  await once(leaver, 'exit')
  expect(await mayHaveLeftProcesses(leaver.pid ?? 0, VARIABLE, 'left')).toBe(true)
  for (const pid of await findByEnvironment(VARIABLE, 'left')) process.kill(pid, 'SIGKILL')
})

test('one that left none is not taken for one that did, whoever else was started meanwhile', async () => {
  await eventually('a moment in which no other process is just being started', async () => {
    const child = sleeper('none', ['true'])
    sleeper('another')
    await once(child, 'exit')
    return !(await mayHaveLeftProcesses(child.pid ?? 0, VARIABLE, 'none'))
  })
})
