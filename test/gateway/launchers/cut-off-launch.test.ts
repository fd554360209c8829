/** A gateway that is killed in the middle of a launch, and an agent that leaves its children behind. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createProcessLauncher } from '../../../gateway/launchers/process.ts'
import { findByEnvironment, startTimeOf } from '../../../host/processes.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import { eventually } from '../../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../../helpers/launching.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const options = launchOptions()

function scene(script: string) {
  const directory = temporaryDirectory()
  const env = { PATH: process.env.PATH }
  const launcher = createProcessLauncher({ directory, agentArgv: ['/bin/sh', '-c', script], env })
  const spec = launchSpec()
  const pids = () => findByEnvironment(AGENT_ENV.launchId, spec.launchId)
  onTestFinished(async () => {
    for (const pid of await pids()) process.kill(pid, 'SIGKILL')
  })
  return { directory, launcher, spec, pids }
}

test('a launch that was cut off before its pid was written is not started again', async () => {
  const { directory, launcher, spec, pids } = scene('exec sleep 600')
  const { handle } = await launcher.launch(spec, options)
  // In the middle of an exec a process shows no environment.
  await eventually('it sleeps', () => readFileSync(`/proc/${handle}/cmdline`, 'utf8').startsWith('sleep'))
  const file = join(directory, spec.taskId, 'launch.json')
  const { pid: _, startTime: __, ...intent } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  writeFileSync(file, JSON.stringify(intent))
  expect(await launcher.launch(spec, options)).toMatchObject({ handle })
  expect(await pids()).toEqual([Number(handle)])
})

test('children that outlive the agent do not keep it alive, and are ended by stop', async () => {
  const { launcher, spec, pids } = scene('setsid sleep 600 & setsid sleep 600 & exit 0')
  const placement = await launcher.launch(spec, options)
  await eventually('the agent is gone', async () => (await startTimeOf(Number(placement.handle))) === undefined)
  await eventually('its children are there', async () => (await pids()).length === 2)
  expect((await launcher.inspect([placement])).get(spec.launchId)).toMatchObject({ status: 'gone' })
  await launcher.stop(placement, 'test')
  expect(await pids()).toEqual([])
})
