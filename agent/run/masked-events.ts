/**
 * Events with secrets masked. A secret may come in two pieces, in consecutive outputs of one channel, so the end of an
 * output is held back as long as it could be the beginning of a secret; it is said with the next output, or when the
 * step or the turn ends. Messages of a coding agent come whole and are masked one by one.
 */
import type { EventBody } from '../../protocol/event.ts'
import { MaskedText } from './masked-text.ts'
import { type Mask, maskWith } from './masking.ts'
import type { SecretFinder } from './secret-finder.ts'

type Output = Extract<EventBody, { type: 'output' }>

export class MaskedEvents {
  readonly #finder: SecretFinder
  readonly #mask: Mask
  /** The text of each step and channel, with its newest event, in whose way the held end is said. */
  readonly #open = new Map<string, { text: MaskedText; newest: Output }>()

  constructor(finder: SecretFinder) {
    this.#finder = finder
    this.#mask = maskWith(finder)
  }

  /** @returns what may be said now, in order */
  push(event: EventBody): EventBody[] {
    if (this.#finder.isEmpty) return [event]
    if (event.type === 'output') return this.#takeOutput(event)
    return [...this.#flush((output) => endsOutput(event, output)), this.#mask(event)]
  }

  #takeOutput(event: Output): EventBody[] {
    const key = `${event.step} ${event.channel} ${event.processId ?? ''}`
    const text = this.#open.get(key)?.text ?? new MaskedText(this.#finder)
    this.#open.set(key, { text, newest: event })
    return withText(event, text.push(event.text))
  }

  #flush(isEnded: (output: Output) => boolean): EventBody[] {
    return [...this.#open].flatMap(([key, { text, newest }]) => {
      if (!isEnded(newest)) return []
      this.#open.delete(key)
      return withText(newest, text.flush())
    })
  }
}

/** Any other word of the same step ends what its channels said, as the end of the turn does. */
const endsOutput = (event: EventBody, output: Output): boolean =>
  event.type === 'turn_ended' || (event.type === 'step' && event.step === output.step)

const withText = (output: Output, text: string): EventBody[] => (text === '' ? [] : [{ ...output, text }])
