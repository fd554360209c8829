/**
 * Requests and answers held against the runtime schemas that the SDK ships for itself: every member known and of its type, those
 * that must be there present, words of the enumerations the SDK names.
 */
import * as sdk from '@aws-sdk/client-ecs'
import { NormalizedSchema } from '@smithy/core/schema'

/** Members whose values are one of an enumeration; the runtime schemas know only that they are text. */
const WORDS: Record<string, Record<string, string>> = {
  launchType: sdk.LaunchType,
  desiredStatus: sdk.DesiredStatus,
  assignPublicIp: sdk.AssignPublicIp,
  networkMode: sdk.NetworkMode,
  cpuArchitecture: sdk.CPUArchitecture,
  operatingSystemFamily: sdk.OSFamily,
  logDriver: sdk.LogDriver,
  stopCode: sdk.TaskStopCode,
  connectivity: sdk.Connectivity,
  healthStatus: sdk.HealthStatus,
}

/** @returns what is wrong, as `Operation.member: problem`; empty when all is well */
export function problemsOf(operation: string, side: 'input' | 'output', value: unknown): string[] {
  const schema = (sdk as unknown as Record<string, unknown>)[`${operation}$`]
  if (!Array.isArray(schema)) return [`${operation} is no operation that the SDK knows`]
  const problems: string[] = []
  look(NormalizedSchema.of(schema[side === 'input' ? 4 : 5]), value, operation, problems)
  return problems
}

function look(schema: NormalizedSchema, value: unknown, path: string, problems: string[]): void {
  const expect = (isRight: boolean, what: string) => {
    if (!isRight) problems.push(`${path}: expected ${what}, not ${JSON.stringify(value)?.slice(0, 80)}`)
    return isRight
  }
  if (schema.isStructSchema()) {
    if (!expect(typeof value === 'object' && value !== null && !Array.isArray(value), 'a structure')) return
    lookAtMembers(schema, value as Record<string, unknown>, path, problems)
  } else if (schema.isListSchema()) {
    if (expect(Array.isArray(value), 'a list'))
      for (const [index, one] of (value as unknown[]).entries())
        look(schema.getValueSchema(), one, `${path}[${index}]`, problems)
  } else if (schema.isMapSchema()) {
    if (expect(typeof value === 'object' && value !== null && !Array.isArray(value), 'a map'))
      for (const [key, one] of Object.entries(value as object))
        look(schema.getValueSchema(), one, `${path}.${key}`, problems)
  } else if (schema.isTimestampSchema()) expect(typeof value === 'number', 'seconds since 1970')
  else if (schema.isBooleanSchema()) expect(typeof value === 'boolean', 'true or false')
  else if (schema.isNumericSchema()) expect(typeof value === 'number', 'a number')
  else if (schema.isStringSchema()) {
    const words = WORDS[path.split('.').at(-1) ?? '']
    if (expect(typeof value === 'string', 'text') && words !== undefined)
      expect(Object.values(words).includes(value as string), `one of ${Object.values(words).join(', ')}`)
  }
}

function lookAtMembers(
  schema: NormalizedSchema,
  value: Record<string, unknown>,
  path: string,
  problems: string[],
): void {
  const members = new Map([...schema.structIterator()])
  for (const [name, one] of Object.entries(value)) {
    const member = members.get(name)
    if (member === undefined) problems.push(`${path}.${name} is unknown: the SDK would drop it in silence`)
    else if (one !== null && one !== undefined) look(member, one, `${path}.${name}`, problems)
  }
  // A static schema is [kind, name space, name, traits, member names, member schemas, how many of the first are required].
  const [, , , , names = [], , required = 0] = schema.getSchema() as unknown as [
    0,
    '',
    '',
    0,
    string[]?,
    unknown?,
    number?,
  ]
  for (const name of names.slice(0, required))
    if (value[name] === undefined || value[name] === null) problems.push(`${path}.${name} is missing`)
}
