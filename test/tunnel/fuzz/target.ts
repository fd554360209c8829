// What the fuzzer runs: a target turns any bytes into one execution and judges it. Something wrong is a Finding.

import type { Features } from './features.ts'
import type { Random } from './random.ts'

export interface Target {
  readonly name: string
  /** Inputs are `headerBytes` of settings, then pieces whose length is a multiple of `unitBytes`. */
  readonly headerBytes: number
  readonly unitBytes: number
  readonly maxBytes: number
  /** A fresh input that makes sense. */
  generate(random: Random): Buffer
  /** A piece to insert somewhere. */
  piece(random: Random): Buffer
  /** Runs `input`; throws a Finding when an oracle is hurt. Returns a short name of what the execution came to. */
  execute(input: Buffer, features: Features): string | Promise<string>
}

export class Finding extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'Finding'
  }
}

export function must(isTrue: boolean, message: () => string): void {
  if (!isTrue) throw new Finding(message())
}
