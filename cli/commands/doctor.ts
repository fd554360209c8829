/** `rclaude doctor`: everything that has to be there, each with what mends it. */
import type { Command } from 'commander'
import { EXIT_CODES } from '../../protocol/errors.ts'
import {
  checkAuthorities,
  checkClaude,
  checkCredentials,
  checkDisk,
  checkGateway,
  checkGit,
  checkNode,
  type Finding,
} from '../checks.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import type { Output } from '../output.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('doctor', 'check that everything needed is there', [
    'rclaude doctor',
    'rclaude doctor --json',
  ]).action(act(world, doctor))
}

async function doctor(invocation: Invocation): Promise<number> {
  const { world, out } = invocation
  const [git, claude, disk, authorities, gateway] = await Promise.all([
    checkGit(world),
    checkClaude(world),
    checkDisk(world),
    checkAuthorities(world),
    checkGateway(world, () => invocation.connect()),
  ])
  const credentials = await checkCredentials(world, gateway.info)
  const findings = [checkNode(), git, ...authorities, ...gateway.findings, credentials, claude, disk]
  if (out.json) await out.data({ ok: findings.every(({ ok }) => ok), findings: findings.map(withoutNeedlessFix) })
  else await printFindings(out, findings)
  return findings.every(({ ok }) => ok) ? EXIT_CODES.succeeded : EXIT_CODES.failed
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
