/** Errors as ECS puts them on the wire (awsJson 1.1): `{"__type": ..., "message": ...}`, 400 for the caller's, 500 for its own. */
export class EcsError extends Error {
  readonly type: string
  readonly more: Record<string, unknown>

  constructor(type: string, message: string, more: Record<string, unknown> = {}) {
    super(message)
    this.type = type
    this.more = more
  }

  get status(): number {
    return this.type === 'ServerException' || this.type === 'InternalFailure' ? 500 : 400
  }

  get body(): Record<string, unknown> {
    return { __type: this.type, message: this.message, ...this.more }
  }
}

export const invalid = (message: string) => new EcsError('InvalidParameterException', message)
