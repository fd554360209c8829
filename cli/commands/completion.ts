/**
 * `rclaude completion bash|zsh|fish`: a script made from the commands as they are declared. Ids of tasks are asked for
 * when they are needed; that never starts a gateway.
 */
import { Argument, type Command } from 'commander'
import { act, newCommand } from '../command.ts'
import type { World } from '../world.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

interface Words {
  path: string
  summary: string
  children: string[]
  options: { long: string; summary: string; takesValue: boolean; choices: readonly string[] }[]
  takesTask: boolean
  takesContext: boolean
  takesProcess: boolean
}

/** What a task named before a slash holds. */
const WITH_PROCESS = new Set(['attach', 'kill'])

export function define(world: World, buildWhole: () => Promise<Command>): Command {
  return newCommand('completion', 'print a completion script for your shell', [
    'source <(rclaude completion bash)',
    'rclaude completion zsh > ~/.zfunc/_rclaude',
    'rclaude completion fish > ~/.config/fish/completions/rclaude.fish',
  ])
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action(
      act(world, async ({ out }, shell: Shell) => {
        const words = [...walk(await buildWhole(), '')]
        await out.line({ bash, zsh, fish }[shell](words))
        return undefined
      }),
    )
}

function* walk(command: Command, path: string): Generator<Words> {
  const takes = (name: string) => command.registeredArguments.some((argument) => argument.name() === name)
  const options = command.options.filter((option) => option.long != null)
  yield {
    path,
    summary: command.summary(),
    children: shown(command).map((child) => child.name()),
    options: options.map((option) => ({
      long: option.long ?? '',
      summary: option.description,
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
    })),
    takesTask: takes('task') || takes('process'),
    takesContext: takes('context'),
    takesProcess: WITH_PROCESS.has(path),
  }
  for (const child of shown(command)) yield* walk(child, `${path} ${child.name()}`.trim())
}

/** Without those that programs call. */
const shown = (command: Command): readonly Command[] => command.createHelp().visibleCommands(command)

const TASKS = 'RCLAUDE_NO_START=1 rclaude ps -aq --limit 50 2>/dev/null'

const PROCESSES = `RCLAUDE_NO_START=1 rclaude processes -aq "\${cur%%/*}" 2>/dev/null | sed "s|^[^/]*|\${cur%%/*}|"`
const FISH_PROCESSES =
  '(set -l t (string split -m1 / -- (commandline -ct)); test (count $t) = 2; and env RCLAUDE_NO_START=1 rclaude processes -aq $t[1] 2>/dev/null | string replace -r "^[^/]*" $t[1])'

const CONTEXTS = 'rclaude context ls -q 2>/dev/null'

/** A case for each command: what may follow it. */
function cases(words: readonly Words[]): string {
  return words
    .map(({ path, children, options, takesTask, takesContext, takesProcess }) => {
      const candidates = [...children, ...options.map(({ long }) => long)].join(' ')
      return `    '${path}') words='${candidates}'; tasks=${takesTask ? 1 : 0} contexts=${takesContext ? 1 : 0} processes=${takesProcess ? 1 : 0} ;;`
    })
    .join('\n')
}

const choiceCases = (words: readonly Words[]): string =>
  words
    .flatMap(({ path, options }) =>
      options
        .filter(({ choices }) => choices.length > 0)
        .map(({ long, choices }) => `    '${path} ${long}') words='${choices.join(' ')}' ;;`),
    )
    .join('\n')

function bash(words: readonly Words[]): string {
  const names = words.map(({ path }) => path).filter((path) => path !== '')
  return `# bash completion of rclaude
_rclaude() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" path='' words='' tasks=0 contexts=0 processes=0 word before=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$before" in --context|--gateway|--token-file) before=''; continue ;; esac
    before="$word"
    case " ${names.map((name) => name.replaceAll(' ', '/')).join(' ')} " in
      *" \${path:+$path/}$word "*) path="\${path:+$path/}$word" ;;
    esac
  done
  path="\${path//\\// }"
  case "$path" in
${cases(words)}
  esac
  case "$path $prev" in
${choiceCases(words)}
  esac
  if [ "$tasks" = 1 ] && [ "\${cur#-}" = "$cur" ]; then words="$words @last $(${TASKS})"; fi
  if [ "$processes" = 1 ]; then case "$cur" in */*) words="$(${PROCESSES})" ;; esac; fi
  if [ "$contexts" = 1 ] && [ "\${cur#-}" = "$cur" ]; then words="$words $(${CONTEXTS})"; fi
  if [ "$prev" = --context ]; then words="$(${CONTEXTS})"; fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _rclaude rclaude`
}

/** zsh runs the bash function as it is. */
function zsh(words: readonly Words[]): string {
  return `#compdef rclaude
autoload -U +X bashcompinit && bashcompinit
${bash(words)}`
}

function fish(words: readonly Words[]): string {
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const lines = words.flatMap(({ path, children, options, takesTask, takesContext, takesProcess }) => {
    const [first, second] = path.split(' ')
    const base = first === '' || first === undefined ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${first}`
    const condition = second === undefined ? base : `${base}; and __fish_seen_subcommand_from ${second}`
    const complete = `complete -c rclaude -n ${quoted(condition)}`
    return [
      ...children.map((child) => {
        const summary = words.find((one) => one.path === `${path} ${child}`.trim())?.summary ?? ''
        return `${complete} -f -a ${child} -d ${quoted(summary)}`
      }),
      ...options.map(({ long, summary, takesValue, choices }) => {
        if (long === '--context') return `${complete} -l context -x -a '(${CONTEXTS})' -d ${quoted(summary)}`
        const value = choices.length > 0 ? ` -x -a ${quoted(choices.join(' '))}` : takesValue ? ' -r' : ''
        return `${complete} -l ${long.replace(/^--/, '')} -d ${quoted(summary)}${value}`
      }),
      ...(takesTask
        ? [`${complete} -f -a '@last (${TASKS.replace('RCLAUDE_NO_START=1', 'env RCLAUDE_NO_START=1')})'`]
        : []),
      ...(takesProcess ? [`${complete} -f -a '${FISH_PROCESSES}'`] : []),
      ...(takesContext ? [`${complete} -f -a '(${CONTEXTS})'`] : []),
    ]
  })
  return ['# fish completion of rclaude', ...lines].join('\n')
}
