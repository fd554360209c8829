/**
 * Calls of ECS: paced, tried again where that is harmless and may help, and refused in words of ours. The SDK is loaded with the
 * first call: a gateway without this launcher does not pay for it.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { ECS, ECSClientConfig } from '@aws-sdk/client-ecs'
import { RclaudeError } from '../../../protocol/errors.ts'
import type { EcsSection } from '../../../protocol/launcher-config.ts'
import { type Buckets, newBuckets } from './pace.ts'

export interface EcsApiOptions {
  section: EcsSection
  /** Undefined: the SDK's own chain of places. */
  credentials?: ECSClientConfig['credentials']
  /** Between two tries of ours, at first; the SDK makes three of its own in each. */
  firstPauseMs?: number
}

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 10_000
/** Of calls that nobody gives a signal. */
const PATIENCE_MS = 60_000

export class EcsApi {
  readonly #options: EcsApiOptions
  readonly #buckets: Buckets = newBuckets()
  #loaded: Promise<ECS> | undefined

  constructor(options: EcsApiOptions) {
    this.#options = options
  }

  /**
   * @param action its name in policies, without `ecs:`
   * @param signal until when it is tried again while ECS is too busy, or nobody knows whether it has heard
   * @throws RclaudeError with what to do, the SDK's own error for what the caller may want to look at (`name`), or what the signal
   *   says; an Error called `TimeoutError`, with what was heard last, when that is a timeout
   */
  async call<Output>(
    bucket: keyof Buckets,
    action: string,
    ask: (ecs: ECS, options: { abortSignal: AbortSignal }) => Promise<Output>,
    signal: AbortSignal = AbortSignal.timeout(PATIENCE_MS),
  ): Promise<Output> {
    const ecs = await this.#load()
    let last: unknown
    try {
      for (let wait = this.#options.firstPauseMs ?? FIRST_PAUSE_MS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MS)) {
        await this.#buckets[bucket].take(signal)
        try {
          return await ask(ecs, { abortSignal: signal })
        } catch (error) {
          signal.throwIfAborted()
          if (!isPassing(error)) throw this.#explained(error, action)
          last = error
          await pause(wait * (0.5 + Math.random() / 2), undefined, { signal })
        }
      }
    } catch (error) {
      throw signal.aborted ? lateOf(signal.reason, last) : error
    }
  }

  #load(): Promise<ECS> {
    this.#loaded ??= (async () => {
      const { region, endpoint } = this.#options.section
      const { ECS } = await import('@aws-sdk/client-ecs')
      const { credentials } = this.#options
      return new ECS({ region, ...(endpoint && { endpoint }), ...(credentials && { credentials }) })
    })()
    return this.#loaded
  }

  #explained(error: unknown, action: string): Error {
    const { name, message } = error as Error
    const { cluster, region } = this.#options.section
    const kind = refusalKind(error)
    if (kind === 'denied') {
      const named = /perform: (\S+)/.exec(message)?.[1] ?? `ecs:${action}`
      return new RclaudeError(
        'internal',
        `AWS does not let the gateway do ${named}: add it to the policy of its role or user (deploy/aws/gateway-policy.yaml)`,
        { cause: error },
      )
    }
    if (kind === 'no_cluster')
      return new RclaudeError('internal', `there is no cluster ${cluster} in ${region} (launchers.ecs.cluster)`, {
        cause: error,
      })
    if (kind === 'bad_credentials')
      return new RclaudeError('internal', `AWS does not take the gateway's credentials (${name}: ${message})`, {
        cause: error,
      })
    if (kind === 'no_credentials')
      return new RclaudeError(
        'internal',
        `the gateway has no AWS credentials (${message}): give its machine a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID`,
        { cause: error },
      )
    return error as Error
  }
}

export type RefusalKind = 'denied' | 'no_cluster' | 'bad_credentials' | 'no_credentials'

/** Undefined for any other error. @param error the SDK's, or ours with the SDK's as its cause */
export function refusalKind(error: unknown): RefusalKind | undefined {
  const { cause, name } = error as Error
  if (/AccessDenied|NotAuthorized/.test(name)) return 'denied'
  if (name === 'ClusterNotFoundException') return 'no_cluster'
  if (name === 'CredentialsProviderError') return 'no_credentials'
  if (/^(UnrecognizedClient|InvalidSignature|InvalidClientTokenId|ExpiredToken|MissingAuthenticationToken)/.test(name))
    return 'bad_credentials'
  return cause instanceof Error ? refusalKind(cause) : undefined
}

/** @param last what the last try that was heard of said */
function lateOf(reason: unknown, last: unknown): unknown {
  if (!(reason instanceof Error) || reason.name !== 'TimeoutError') return reason
  const said = last instanceof Error ? `; the last try: ${last.message || last.name}` : ''
  return Object.assign(new Error(`AWS did not answer in time${said}`, { cause: reason }), { name: 'TimeoutError' })
}

/** The SDK gave up, and the next try may be heard. "Rate exceeded" within another error is not known to the SDK as throttling. */
function isPassing(error: unknown): boolean {
  const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
  if (/Throttl|TooManyRequests|RequestLimitExceeded/.test(name) || /Rate exceeded/.test(message)) return true
  if (($metadata?.httpStatusCode ?? 0) >= 500) return true
  const code = (error as NodeJS.ErrnoException).code ?? ''
  return name === 'TimeoutError' || /^(ECONNRESET|ECONNREFUSED|EPIPE|ETIMEDOUT|EAI_AGAIN|ENOTFOUND)$/.test(code)
}
