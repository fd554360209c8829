/** `rclaude login URL`: a context for this gateway, which is the current one from then on. */
import type { Command } from 'commander'
import { isLoopback } from '../../host/loopback.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { gatewayUrl, tokenGiven } from '../api.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import {
  checkName,
  contextFile,
  currentContext,
  LOCAL,
  nameFor,
  removeContext,
  useContext,
  writeContext,
} from '../contexts.ts'
import { clientFor } from '../network.ts'
import { askHidden, readAll } from '../prompt.ts'
import { canAsk, type World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('login', 'use a gateway elsewhere', [
    'rclaude login https://rclaude.example.com',
    'rclaude login https://rclaude.example.com --token-file token.txt',
    'rclaude login https://rclaude.example.com --context work    under a name; see rclaude context',
    'rclaude login --forget    forget the current one, go back to the local gateway',
  ])
    .argument('[url]', 'of the gateway')
    .option('--forget', 'forget the current context, or that of --context, with its token')
    .action(act(world, login))
}

async function login(
  { world, globals, out }: Invocation,
  address: string | undefined,
  options: { forget?: boolean },
): Promise<undefined> {
  if (options.forget === true) {
    const name = globals.context ?? (await currentContext(world))
    if (name !== undefined && name !== LOCAL) await removeContext(world, name)
    return out.json ? void (await out.data({ forgotten: true })) : void (await out.line('forgotten'))
  }
  const named = address ?? globals.gateway
  if (named === undefined) throw new RclaudeError('invalid', 'which gateway? rclaude login https://rclaude.example.com')
  const url = gatewayUrl(named)
  if (globals.context === LOCAL)
    throw new RclaudeError('invalid', 'local is the gateway of this machine: take another name')
  if (globals.context !== undefined) checkName(globals.context)
  warnAboutPlainText(url, out.note)
  const token = (await tokenGiven(world, globals)) ?? (await askToken(world, url))
  const me = await clientFor(world, url, token).call(routes.me)
  const name = globals.context ?? (await nameFor(world, url, me.user))
  await writeContext(world, name, { url, token, user: me.user })
  await useContext(world, name)
  if (out.json) return void (await out.data({ context: name, url, ...me }))
  await out.line(`logged in to ${url} as ${me.user} (${me.role}); context ${name}, kept in ${contextFile(world, name)}`)
}

async function askToken(world: World, url: string): Promise<string> {
  const token = canAsk(world) ? await askHidden(world, `Token for ${url} (not shown): `) : await readAll(world.stdin)
  if (token === undefined || token.trim() === '')
    throw new RclaudeError('invalid', 'no token: give --token-file, set RCLAUDE_TOKEN, or send it to standard input')
  return token.trim()
}

function warnAboutPlainText(url: string, note: (text: string) => void): void {
  const { protocol, hostname } = new URL(url)
  if (protocol === 'http:' && !isLoopback(hostname)) note('! this is http: the token and your code travel unencrypted')
}
