/**
 * The commands in the documents, run as they stand: every ```sh block between `<!-- run:start -->` and `<!-- run:end -->` of a
 * file in docs/, in one shell, with a gateway and a running task. Lines that begin with `#>` must be in the output, in order.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld } from '../helpers/world.ts'

const scripts = readdirSync('docs')
  .filter((file) => file.endsWith('.md'))
  .map((file) => {
    const sections = readFileSync(join('docs', file), 'utf8').matchAll(/<!-- run:start -->([\s\S]*?)<!-- run:end -->/g)
    const blocks = [...sections].flatMap(([, section = '']) => [...section.matchAll(/```sh\n([\s\S]*?)```/g)])
    return { file, script: blocks.map(([, code]) => code).join('\n') }
  })
  .filter(({ script }) => script !== '')

function run(script: string, cwd: string, env: Record<string, string>): Promise<string> {
  return new Promise((done, reject) =>
    execFile('sh', ['-eu', '-c', script], { cwd, env, timeout: 60_000 }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message}\n${stdout}\n${stderr}`)) : done(stdout),
    ),
  )
}

test('there is something to run', () => expect(scripts.map(({ file }) => file)).toContain('files.md'))

test.each(scripts)(
  'the commands in docs/$file do what it says',
  async ({ script }) => {
    const world = await startWorld()
    stopTasksAfterwards(world)
    const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
    await world.state(task.id, 'running')
    const cwd = join(world.directory, 'docs')
    mkdirSync(cwd)
    const env = { ...world.userEnvironment(), ...world.asAdmin, TASK: task.id, NODE_PATH: resolve('node_modules') }
    const output = await run(script, cwd, env)
    let at = 0
    for (const [, expected = ''] of script.matchAll(/^#> (.*)$/gm)) {
      const found = output.indexOf(expected, at)
      expect(found, `${expected}\nin what was printed:\n${output.slice(at)}`).toBeGreaterThanOrEqual(0)
      at = found + expected.length
    }
  },
  90_000,
)
