/** `rclaude login URL`: from then on this gateway is the one that commands talk to. */
import type { Command } from 'commander'
import { isLoopback } from '../../host/loopback.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { gatewayUrl, tokenGiven } from '../api.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { clientFor } from '../network.ts'
import { askHidden, readAll } from '../prompt.ts'
import { loginFile, removeLogin, writeLogin } from '../settings.ts'
import { canAsk, type World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('login', 'use a gateway elsewhere', [
    'rclaude login https://rclaude.example.com',
    'rclaude login https://rclaude.example.com --token-file token.txt',
    'rclaude login --forget    go back to the local gateway',
  ])
    .argument('[url]', 'of the gateway')
    .option('--forget', 'forget the gateway and its token')
    .action(act(world, login))
}

async function login(
  { world, globals, out }: Invocation,
  address: string | undefined,
  options: { forget?: boolean },
): Promise<undefined> {
  if (options.forget === true) {
    await removeLogin(world)
    return out.json ? void (await out.data({ forgotten: true })) : void (await out.line('forgotten'))
  }
  const named = address ?? globals.gateway
  if (named === undefined) throw new RclaudeError('invalid', 'which gateway? rclaude login https://rclaude.example.com')
  const url = gatewayUrl(named)
  warnAboutPlainText(url, out.note)
  const token = (await tokenGiven(world, globals)) ?? (await askToken(world, url))
  const me = await clientFor(world, url, token).call(routes.me)
  await writeLogin(world, { url, token })
  if (out.json) return void (await out.data({ url, ...me }))
  await out.line(`logged in to ${url} as ${me.user} (${me.role}); kept in ${loginFile(world)}`)
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
