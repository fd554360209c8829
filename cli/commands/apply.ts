/** `rclaude apply TASK`: the change on the working tree one stands in. */
import type { Command } from 'commander'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import { count, type Output } from '../output.ts'
import { findTask } from '../task-name.ts'
import { noteWithheld } from '../withheld.ts'
import { type Applied, applyTask } from '../workspace/apply.ts'
import type { World } from '../world.ts'

interface ApplyOptions {
  check?: boolean
  checkpoint?: boolean
}

export function define(world: World): Command {
  return newCommand('apply', 'put the change on your working tree', [
    'rclaude apply @last',
    'rclaude apply k3m --check    say what would happen, touch nothing',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .option('--check', 'say what would happen and touch nothing')
    .option('--checkpoint', 'the newest checkpoint instead of the result')
    .action(act(world, apply))
}

async function apply(invocation: Invocation, name: string, options: ApplyOptions): Promise<number> {
  const { world, out } = invocation
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  const applied = await applyTask(
    world.cwd,
    { gateway: gateway.url, token: gateway.token, taskId, env: world.env },
    { check: options.check === true, want: options.checkpoint === true ? 'checkpoint' : 'newest' },
  )
  const withheld = await noteWithheld(gateway, taskId, out)
  if (out.json) await out.data({ taskId, ...applied, withheld })
  else await report(out, applied, options.check === true)
  return applied.status === 'conflicts' ? EXIT_CODES.conflict : EXIT_CODES.succeeded
}

async function report(out: Output, applied: Applied, isCheck: boolean): Promise<void> {
  const { style } = out
  for (const warning of applied.warnings) out.note(style.yellow(`! ${oneLine(warning)}`))
  if (applied.status === 'no_changes') return out.line('the task changed nothing')
  if (applied.status === 'already_applied') return out.line('nothing to do: your working tree has this change already')
  const conflicted = new Set(applied.conflicts)
  for (const { path, status } of applied.files) {
    const isConflict = conflicted.has(path)
    await out.line(`  ${isConflict ? style.red('C') : style.dim(status)} ${oneLine(path)}`)
  }
  for (const note of applied.notes) await out.line(`  ${style.dim(oneLine(note))}`)
  if (applied.cautions.length > 0) {
    await out.line(style.yellow('look at these first:'))
    for (const { path, why } of applied.cautions)
      await out.line(`  ${style.yellow('!')} ${oneLine(path)} ${style.dim(why)}`)
  }
  const verb = isCheck ? 'would change' : 'changed'
  const from = applied.from === 'checkpoint' ? ' (from a checkpoint: the task has no result)' : ''
  if (applied.status === 'conflicts')
    return out.line(
      `${style.red('✗')} ${verb} ${count(applied.files.length, 'file')}${from}, with ${count(applied.conflicts.length, 'conflict')}${isCheck ? '' : ': look for <<<<<<< in the files marked C'}`,
    )
  await out.line(`${style.green('✓')} ${verb} ${count(applied.files.length, 'file')}${from}`)
}
