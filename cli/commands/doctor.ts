/** `rclaude doctor`: everything that has to be there, or what ails a task; each with what mends it. */
import type { Command } from 'commander'
import { EXIT_CODES } from '../../protocol/errors.ts'
import type { Finding } from '../../protocol/finding.ts'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import {
  checkAuthorities,
  checkClaude,
  checkCredentials,
  checkDisk,
  checkGateway,
  checkGit,
  checkNode,
} from '../doctor/setup.ts'
import { taskFindings } from '../doctor/task.ts'
import { oneLine } from '../neutralise.ts'
import type { Output } from '../output.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('doctor', 'check that everything needed is there, or what ails a task', [
    'rclaude doctor',
    'rclaude doctor @last    why a task does not do what you expect',
    'rclaude doctor --json',
  ])
    .argument('[task]', 'id, beginning of an id, or @last')
    .action(act(world, doctor))
}

async function doctor(invocation: Invocation, name: string | undefined): Promise<number> {
  const findings = name === undefined ? await checkAll(invocation) : await checkTask(invocation, name)
  const { out } = invocation
  if (out.json) await out.data({ ok: findings.every(({ ok }) => ok), findings: findings.map(withoutNeedlessFix) })
  else await printFindings(out, findings)
  return findings.every(({ ok }) => ok) ? EXIT_CODES.succeeded : EXIT_CODES.failed
}

async function checkTask(invocation: Invocation, name: string): Promise<Finding[]> {
  const { client } = await invocation.connect()
  const params = { taskId: await findTask(client, name) }
  const [task, health, info] = await Promise.all([
    client.call(routes.getTask, { params }),
    client.call(routes.taskHealth, { params }),
    client.call(routes.info),
  ])
  return taskFindings({ task, health, info, nowMs: Date.now() })
}

async function checkAll(invocation: Invocation): Promise<Finding[]> {
  const { world } = invocation
  const [git, claude, disk, authorities, gateway] = await Promise.all([
    checkGit(world),
    checkClaude(world),
    checkDisk(world),
    checkAuthorities(world),
    checkGateway(world, () => invocation.connect()),
  ])
  const credentials = await checkCredentials(world, gateway.info)
  return [checkNode(), git, ...authorities, ...gateway.findings, credentials, claude, disk]
}

const withoutNeedlessFix = ({ fix, ...finding }: Finding): Finding =>
  finding.ok || fix === undefined ? finding : { ...finding, fix }

export async function printFindings(out: Output, findings: readonly Finding[]): Promise<void> {
  const { style } = out
  const widest = Math.max(...findings.map(({ name }) => name.length))
  for (const { name, ok, detail, fix } of findings) {
    await out.line(`${ok ? style.green('✓') : style.red('✗')} ${name.padEnd(widest)}  ${oneLine(detail)}`)
    if (!ok && fix !== undefined) await out.line(`  ${' '.repeat(widest)}  ${style.yellow(`→ ${oneLine(fix)}`)}`)
  }
}
