/** Two gateways at once: names of tasks mean those of the context. */
import { expect, test } from 'vitest'
import { startWorld, type World } from '../helpers/world.ts'

const login = (world: World, other: World, name: string) =>
  world.cli(['login', other.url, '--context', name], { env: { RCLAUDE_TOKEN: other.adminToken } })

test('@last and the beginnings of ids are those of the context', async () => {
  const [one, two] = [await startWorld(), await startWorld()]
  await login(one, one, 'one')
  await login(one, two, 'two')
  const ids = new Map<string, string>()
  for (const name of ['one', 'two']) {
    const args = [
      'run',
      '--context',
      name,
      '--detach',
      '--unsandboxed',
      '--no-workspace',
      '--',
      'echo',
      `this is ${name}`,
    ]
    const ran = await one.cli(args)
    expect(ran.code, ran.stderr).toBe(0)
    ids.set(name, ran.stdout.trim())
  }
  await one.ended(ids.get('one') ?? '')
  await two.ended(ids.get('two') ?? '')
  for (const name of ['one', 'two']) {
    expect((await one.cli(['logs', '@last', '--context', name])).stdout).toContain(`this is ${name}`)
    const prefix = ids.get(name)?.slice(5, 14) ?? ''
    expect((await one.cli(['logs', prefix], { env: { RCLAUDE_CONTEXT: name } })).stdout).toContain(`this is ${name}`)
    const other = await one.cli(['logs', prefix, '--context', name === 'one' ? 'two' : 'one'])
    expect(other.stderr).toContain('no task begins with')
  }
})
