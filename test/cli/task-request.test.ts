import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readWork, taskRequest } from '../../cli/task-request.ts'
import { CreateTask } from '../../protocol/task.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

const noStdin = () => Promise.reject(new Error('standard input must not be read'))

test('the work is a prompt, a file, standard input, or a command after --', async () => {
  const file = join(temporaryDirectory(), 'prompt.md')
  writeFileSync(file, 'from a file')
  expect(await readWork('fix it', {}, undefined, noStdin)).toEqual({ agent: 'claude', prompt: 'fix it' })
  expect(await readWork(undefined, { file }, undefined, noStdin)).toEqual({ agent: 'claude', prompt: 'from a file' })
  expect(await readWork('-', {}, undefined, async () => 'piped')).toEqual({ agent: 'claude', prompt: 'piped' })
  expect(await readWork(undefined, {}, ['npm', 'test'], noStdin)).toEqual({
    agent: 'command',
    command: ['npm', 'test'],
  })
})

test.each([
  ['nothing at all', undefined, {}, undefined, 'what is to be done?'],
  ['a prompt and a file', 'x', { file: 'y' }, undefined, 'not several'],
  ['a prompt and a command', 'x', {}, ['ls'], 'not several'],
  ['nothing after --', undefined, {}, [], 'no command after --'],
  ['claude with a command', undefined, { agent: 'claude' as const }, ['ls'], '--agent claude takes a prompt'],
  ['command without --', 'x', { agent: 'command' as const }, undefined, 'runs what stands after --'],
  ['an empty prompt', '  ', {}, undefined, 'the prompt is empty'],
  ['a file that is not there', undefined, { file: '/does/not/exist' }, undefined, 'cannot read the prompt'],
  ['prompt and secret from stdin', '-', { secret: ['A=-'] }, undefined, 'cannot hold both'],
])('%s is refused', async (_, prompt, options, afterDashes, message) => {
  await expect(readWork(prompt, options, afterDashes, noStdin)).rejects.toMatchObject({
    code: 'invalid',
    message: expect.stringContaining(message),
  })
})

test('every option reaches the request, and the gateway takes it', () => {
  const request = taskRequest(
    { agent: 'claude', prompt: 'fix it' },
    {
      workspace: true,
      model: 'opus',
      permissionMode: 'plan',
      timeout: 90.5,
      idle: 60,
      budget: 2.5,
      maxTurns: 7,
      check: 'npm test',
      setup: 'npm ci',
      env: ['A=1'],
      label: ['team=web'],
      keep: 3_600,
      launcher: 'process',
    },
    { kind: 'none' },
    {},
  )
  expect(CreateTask.parse(request)).toMatchObject({
    agent: 'claude',
    prompt: 'fix it',
    model: 'opus',
    permissionMode: 'plan',
    limits: { timeoutSeconds: 91, idleSeconds: 60, budgetUsd: 2.5, maxTurns: 7 },
    check: 'npm test',
    setup: 'npm ci',
    env: { A: '1' },
    labels: { team: 'web' },
    keepSeconds: 3_600,
    launcher: 'process',
    workspace: { kind: 'none' },
  })
})
