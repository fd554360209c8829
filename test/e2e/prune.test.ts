/** `rclaude prune` as a user has it. */
import { expect, test } from 'vitest'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { makeRepository } from '../helpers/repository.ts'
import { tokenFor } from '../helpers/users.ts'
import { startWorld, type World } from '../helpers/world.ts'

const quick = { agent: 'command' as const, command: ['true'], workspace: { kind: 'none' as const } }

async function userOf(world: World, user: string) {
  const secret = await tokenFor(world, user)
  const env = { RCLAUDE_GATEWAY: world.url, RCLAUDE_TOKEN: secret }
  const made = async () => {
    const { id } = await world.api(secret).call(routes.createTask, { body: quick })
    await world.ended(id)
    return id
  }
  return { env, made, run: (...args: string[]) => world.cli(args, { env }) }
}

const idsIn = (text: string): string[] => text.match(/task_[a-z0-9]+/g) ?? []

test('prune says what would go, deletes only one’s own ended tasks, and says what was freed', async () => {
  const world = await startWorld()
  const [alice, bob] = [await userOf(world, 'alice'), await userOf(world, 'bob')]
  const mine = [await alice.made(), await alice.made()]
  const his = await bob.made()

  const unasked = await alice.run('prune')
  expect(unasked).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('--yes') })
  const dry = await alice.run('prune', '--dry-run')
  expect(dry).toMatchObject({ code: 0, stdout: expect.stringMatching(/^2 tasks: \d+\.?\d* (B|KiB)$/m) })
  expect(idsIn(dry.stdout)).toEqual(mine)
  expect((await alice.run('prune', '--older-than', '1h', '--yes')).stdout).toBe('deleted 0 tasks, freed 0 B\n')
  expect((await alice.run('prune', '--outcome', 'failed', '--yes')).stdout).toMatch(/^deleted 0 tasks/)
  expect(await alice.run('prune', '--yes', '--all-users')).toMatchObject({
    code: EXIT_CODES.internal,
    stderr: expect.stringContaining("an administrator's"),
  })

  const done = await alice.run('prune', '--yes', '--json')
  expect(JSON.parse(done.stdout)).toMatchObject({ dryRun: false, bytes: expect.any(Number) })
  expect(idsIn(done.stdout)).toEqual(mine)
  const shown = await alice.run('show', mine[0] ?? '')
  expect(shown.code).not.toBe(0)
  expect(shown.stderr).toContain('(rclaude prune by alice)')
  expect(idsIn((await bob.run('ps', '-aq')).stdout)).toEqual([his])

  const all = await world.cli(['prune', '--yes', '--all-users'], { env: world.asAdmin })
  expect(all.stdout).toMatch(/^deleted 1 task, freed /)
  const { rows } = await world.api().call(routes.listAudit, { query: { limit: 500 } })
  expect(rows.some(({ action, user }) => action === 'task.prune' && user === 'alice')).toBe(true)
})

test('prune --workspaces-only keeps the log, and diff and show say where the files went', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  const run = (...args: string[]) => world.cli(args, { cwd: folder, env: world.asAdmin })
  expect(await run('run', '--unsandboxed', '--', 'sh', '-c', 'echo new > new.txt; echo said')).toMatchObject({
    code: 0,
  })
  const done = await run('prune', '--workspaces-only', '--yes')
  expect(done.stdout).toMatch(/^deleted workspace and artifacts of 1 task, freed \d/)
  expect((await run('prune', '--workspaces-only', '--dry-run')).stderr).toContain('nothing to prune')
  const diff = await run('diff', '@last')
  expect(diff.code).not.toBe(0)
  expect(diff.stderr).toMatch(/were deleted at .* \(rclaude prune by .*\); its log and transcript are there/)
  expect((await run('show', '@last')).stdout).toMatch(/files +workspace and artifacts were deleted/)
  expect((await run('logs', '@last')).stdout).toContain('said')
  expect((await run('retry', '@last', '--unsandboxed')).stderr).toContain('were deleted at')
})

test('on a terminal prune asks, and no is no', async () => {
  const world = await startWorld()
  const { env, made } = await userOf(world, 'alice')
  const id = await made()
  const answer = (key: string) =>
    world.startOnTerminal(['prune'], { env, script: [{ when: 'cannot be undone', type: key }] })
  expect((await answer('n')).stdout).toContain('nothing was deleted')
  expect((await world.getTask(id)).state).toBe('ended')
  expect((await answer('y')).stdout).toMatch(/deleted 1 task, freed/)
  await expect(world.getTask(id)).rejects.toMatchObject({ code: 'gone' })
})
