/** What all commands share: the options that each one takes, how one is declared, and what its action is handed. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { parseBytes, parseSeconds } from '../protocol/units.ts'
import { type ConnectOptions, connect, type Gateway, type Globals } from './api.ts'
import { createOutput, type Output } from './output.ts'
import type { World } from './world.ts'

export interface Invocation {
  world: World
  globals: Globals
  out: Output
  connect(options?: Pick<ConnectOptions, 'start' | 'maxWaitSeconds'>): Promise<Gateway>
}

/**
 * Each module of `commands/` exports one of these as `define`.
 * @param buildWhole makes the program with every command in full, for the one that tells of all the others
 */
export type Define = (world: World, buildWhole: () => Promise<Command>) => Command

/** @param examples lines of the form `rclaude ps -a   what it does` */
export function newCommand(name: string, summary: string, examples: readonly string[] = []): Command {
  const command = new Command(name).summary(summary).description(summary)
  if (examples.length > 0)
    command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`)
  return withGlobals(command)
}

export function withGlobals(command: Command): Command {
  return command
    .addOption(new Option('--json', 'write JSON for programs'))
    .addOption(new Option('--gateway <url>', 'the gateway to use (RCLAUDE_GATEWAY)'))
    .addOption(new Option('--context <name>', 'the context to use (RCLAUDE_CONTEXT); see rclaude context'))
    .addOption(new Option('--token-file <file>', 'file that holds the token (RCLAUDE_TOKEN holds it itself)'))
    .helpOption('-h, --help', 'show this help')
}

/** Wraps a command's work for commander: arguments, then options; what it returns is the exit code. */
export function act<Args extends unknown[]>(
  world: World,
  work: (invocation: Invocation, ...args: Args) => Promise<number | undefined>,
): (...received: [...Args, Command]) => Promise<void> {
  return async (...received) => {
    const command = received.at(-1) as Command
    const args = received.slice(0, -1) as unknown as Args
    world.exitCode = (await work(invocation(world, command.optsWithGlobals<Globals>()), ...args)) ?? 0
  }
}

function invocation(world: World, globals: Globals): Invocation {
  const out = createOutput(world, globals.json === true)
  return {
    world,
    globals,
    out,
    connect: (options) => connect(world, globals, { ...options, say: (message) => out.note(message) }),
  }
}

/** Parsers for option values. Commander puts the option's name before the message. */
export function duration(text: string): number {
  const seconds = parseSeconds(text)
  if (seconds === undefined) throw new InvalidArgumentError('Expected a duration like 30s, 10m or 1h30m.')
  return seconds
}

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected a whole number.')
  return value
}

export function amount(text: string): number {
  const value = Number(text.replace(/^\$/, ''))
  if (!Number.isFinite(value) || value <= 0)
    throw new InvalidArgumentError('Expected an amount in US dollars like 2.50.')
  return value
}

/** In bytes. */
export function size(text: string): number {
  const bytes = parseBytes(text)
  if (bytes === undefined || bytes <= 0) throw new InvalidArgumentError('Expected a size like 512MiB or 4GiB.')
  return bytes
}

export function cpus(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('Expected a number of CPUs like 2 or 0.5.')
  return value
}

/** For options that may be given more than once. */
export const collect = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text]
