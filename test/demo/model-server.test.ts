/** The scripted model server on its own: what it answers beside the conversation. */
import { expect, onTestFinished, test } from 'vitest'
import { type Script, say, startModelServer, steps } from '../../demo/model-server.ts'

async function serve(script: Script) {
  const server = await startModelServer({ script })
  onTestFinished(() => server.close())
  const post = (path: string, body: object) =>
    fetch(`${server.url}${path}`, { method: 'POST', body: JSON.stringify(body), headers: { connection: 'close' } })
  return { server, post }
}

const tools = [{ name: 'Bash' }]
const user = (content: unknown) => ({ role: 'user', content })

test('side requests get an answer and take no step of the script', async () => {
  const { server, post } = await serve(steps(say('one'), say('two')))
  expect((await fetch(server.url, { method: 'HEAD' })).status).toBe(200)
  expect(await (await post('/v1/messages/count_tokens', {})).json()).toEqual({ input_tokens: 1_000 })
  const title = { model: 'm', messages: [user('make a title')], system: 'Answer in JSON' }
  const answer = await (await post('/v1/messages?beta=true', title)).json()
  expect(JSON.stringify(answer)).toContain('Scripted session')

  const main = await (await post('/v1/messages', { model: 'm', tools, messages: [user('hi')] })).json()
  expect(main).toMatchObject({ role: 'assistant', content: [{ type: 'text', text: 'one' }], stop_reason: 'end_turn' })
  expect(server.requests.map(({ kind }) => kind)).toEqual(['other', 'other', 'side', 'conversation'])
})

test('a script sees prompts, calls with their results, and repetitions', async () => {
  const { server, post } = await serve(steps(say('ok')))
  const messages = [
    user([
      { type: 'text', text: '<system-reminder>x</system-reminder>' },
      { type: 'text', text: 'first' },
    ]),
    { role: 'assistant', content: [{ type: 'text', text: 'said' }] },
    user('second'),
    { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'Bash', input: { command: 'ls' } }] },
    user([{ type: 'tool_result', tool_use_id: 't', is_error: true, content: [{ type: 'text', text: 'no' }] }]),
  ]
  for (let i = 0; i < 2; i++) await post('/v1/messages', { model: 'm', tools, messages })
  expect(server.requests.map(({ conversation }) => conversation)).toMatchObject([
    {
      prompts: ['first', 'second'],
      prompt: 'second',
      step: 1,
      calls: [{ name: 'Bash', input: { command: 'ls' }, result: 'no', isError: true }],
      said: ['said'],
      attempt: 1,
    },
    { attempt: 2 },
  ])
})

test('a script that throws and a body that is no request are answered, not swallowed', async () => {
  const { server, post } = await serve(() => {
    throw new Error('lost the thread')
  })
  const response = await post('/v1/messages', { model: 'm', tools, messages: [user('hi')] })
  expect(response.status).toBe(500)
  expect(await response.text()).toContain('lost the thread')
  expect((await post('/v1/messages', { model: 'm' })).status).toBe(400)
  expect((await fetch(`${server.url}/v1/nothing`)).status).toBe(404)
})
