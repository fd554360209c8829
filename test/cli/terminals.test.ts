/** Parts of the CLI's terminals that need no task: the escape key, what is undone on leaving, recordings. */
import { describe, expect, it } from 'vitest'
import { readCast } from '../../cli/terminals/cast.ts'
import { EscapeFilter } from '../../cli/terminals/escape.ts'
import { Pause, play } from '../../cli/terminals/play.ts'
import { TerminalRestorer } from '../../cli/terminals/restore.ts'

async function typed(key: string | undefined, ...chunks: string[]) {
  const commands: string[] = []
  const filter = new EscapeFilter(key, (command) => commands.push(command))
  let passed = ''
  filter.on('data', (bytes: Buffer) => {
    passed += bytes.toString()
  })
  for (const chunk of chunks) filter.write(chunk)
  await new Promise<void>((resolve) => filter.end(resolve))
  await new Promise((resolve) => setImmediate(resolve))
  return { passed, commands }
}

describe('the escape key', () => {
  it.each([
    ['~.', '', ['leave']],
    ['ls\r~d', 'ls\r', ['detach']],
    ['a~.', 'a~.', []],
    ['~~x', '~x', []],
    ['~x~.', '~x~.', []],
    ['~?~.', '', ['help', 'leave']],
    ['~', '~', []],
  ])('%j passes %j on', async (input, passed, commands) => {
    expect(await typed('~', input)).toEqual({ passed, commands })
    expect(await typed('~', ...input)).toEqual({ passed, commands })
  })

  it('can be another, or none', async () => {
    expect(await typed('%', '~.\r%.')).toEqual({ passed: '~.\r', commands: ['leave'] })
    expect(await typed(undefined, '~.')).toEqual({ passed: '~.', commands: [] })
  })
})

describe('what is undone on leaving', () => {
  const undoneAfter = (...chunks: string[]) => {
    const restorer = new TerminalRestorer()
    for (const chunk of chunks) restorer.see(Buffer.from(chunk))
    return String(restorer)
  }

  it('is what is on, however the sequences were cut', () => {
    for (const text of ['\u001b[?1049;1002h\u001b[?25l\u001b[5 q\u001b[>1u']) {
      expect(undoneAfter(...text)).toBe(undoneAfter(text))
      for (const undone of ['\u001b[?1049l', '\u001b[?1002l', '\u001b[?25h', '\u001b[0 q', '\u001b[<1u'])
        expect(undoneAfter(text)).toContain(undone)
    }
  })

  it('is no second screen that was left already, or never entered', () => {
    expect(undoneAfter('plain')).not.toContain('1049')
    expect(undoneAfter('\u001b[?1049h', '\u001b[?1049l')).not.toContain('1049')
  })
})

describe('a recording', () => {
  async function* lines(...all: string[]) {
    yield* all
  }
  const played = async (speed: number, idleLimitSeconds: number | undefined, ...all: string[]) => {
    let shown = ''
    await play(readCast(lines(...all), 'x.cast'), {
      speed,
      idleLimitSeconds,
      signal: new AbortController().signal,
      pause: new Pause(),
      write: async (text) => {
        shown += text
      },
    })
    return shown
  }

  it('is played in version 2 and 3, output alone, waiting no longer than it may', async () => {
    const v2 = ['{"version":2,"width":80,"height":24}', '[0.001,"o","a"]', '[0.002,"i","typed"]', '[9000,"o","b"]']
    expect(await played(1, 0.01, ...v2)).toBe('ab')
    const v3 = ['{"version":3,"term":{"cols":80,"rows":24}}', '# a comment', '[10,"o","a"]', '[10,"o","b"]']
    expect(await played(1_000, undefined, ...v3)).toBe('ab')
  })

  it.each([
    [[], 'the file is empty'],
    [['not json'], 'line 1'],
    [['{"version":1}'], 'line 1'],
    [['{"version":2}', '[0,"o"]'], 'line 2'],
    [['{"version":2}', '[-1,"o","x"]'], 'line 2'],
  ])('that is none is refused: %j', async (all, message) => {
    await expect(played(1, 0, ...all)).rejects.toThrow(message)
  })
})
