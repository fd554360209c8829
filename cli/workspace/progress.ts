/** Git's `--progress` lines as values: `Writing objects:  45% (9/20), 1.20 MiB | 3.10 MiB/s`. */

export interface GitProgress {
  /** Git's words: `Counting objects`, `Compressing objects`, `Writing objects`, `Receiving objects` ... */
  phase: string
  percent: number
  /** Amount and speed as git prints them, once it does: `1.20 MiB | 3.10 MiB/s`. */
  bytesText?: string
}

/** As a number, of what git has sent or received so far; 0 before it says. Git rounds it to three digits. */
export function amountOf({ bytesText = '' }: GitProgress): number {
  const [, amount, unit = ''] = /^([\d.]+) (bytes|KiB|MiB|GiB|TiB)\b/.exec(bytesText) ?? []
  return Number(amount ?? 0) * 1024 ** ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'].indexOf(unit)
}

/** Takes stderr in pieces of any size; calls back once per line of progress. */
export function progressParser(report: (progress: GitProgress) => void): (text: string) => void {
  let rest = ''
  return (text) => {
    const lines = (rest + text).split(/[\r\n]/)
    rest = (lines.pop() ?? '').slice(-1_000)
    for (const line of lines) {
      const match =
        /^(?:remote: )?([A-Z][a-z ]+):\s+(\d+)% \(\d+\/\d+\)(?:, ([\d.]+ \S+ \| [\d.]+ \S+?)(?:,|$|\s))?/.exec(line)
      const [, phase, percent, bytesText] = match ?? []
      if (phase !== undefined)
        report({ phase, percent: Number(percent), ...(bytesText !== undefined && { bytesText }) })
    }
  }
}
