/**
 * SQLite as the gateway uses it: each SQL text is prepared once, and nothing that was ever prepared or opened is collected
 * as garbage while the process lives. On Node 24 better-sqlite3 12 ends the process when one of its objects is collected
 * at a moment in which no JavaScript runs (docs/maintaining.md); prepared once is also the quicker way.
 *
 * So SQL must come from a bounded number of texts: values go in as parameters, never into the text.
 */
import Sqlite from 'better-sqlite3'

/** Never emptied: what a closed database leaves here is a few kilobytes, and databases are closed by backups only. */
const kept = new Set<Database>()

export class Database {
  readonly #sqlite: Sqlite.Database
  readonly #rows = new Map<string, Sqlite.Statement<unknown[], unknown>>()
  readonly #values = new Map<string, Sqlite.Statement<unknown[], unknown>>()

  /** Makes the file when there is none, unless told otherwise. @throws SqliteError */
  constructor(file: string, options?: Sqlite.Options) {
    this.#sqlite = new Sqlite(file, options)
    kept.add(this)
  }

  /** The file. */
  get name(): string {
    return this.#sqlite.name
  }

  /** A statement whose rows are objects. */
  prepare<Parameters extends unknown[] | object = unknown[], Row = unknown>(sql: string) {
    return once(this.#rows, sql, () => this.#sqlite.prepare(sql)) as Statement<Parameters, Row>
  }

  /** A statement whose rows are the values of the first column. */
  prepareValue<Parameters extends unknown[] | object = unknown[], Value = unknown>(sql: string) {
    return once(this.#values, sql, () => this.#sqlite.prepare(sql).pluck()) as Statement<Parameters, Value>
  }

  /** One or more statements without parameters or results: schema, settings. */
  exec(sql: string): void {
    this.#sqlite.exec(sql)
  }

  /** A function that runs whole or not at all. */
  transaction<F extends (...args: never[]) => unknown>(work: F): Sqlite.Transaction<F> {
    return this.#sqlite.transaction(work as never) as unknown as Sqlite.Transaction<F>
  }

  close(): void {
    this.#sqlite.close()
  }
}

export const { SqliteError } = Sqlite

type Statement<Parameters extends unknown[] | object, Row> = Parameters extends unknown[]
  ? Sqlite.Statement<Parameters, Row>
  : Sqlite.Statement<[Parameters], Row>

function once<Value>(known: Map<string, Value>, sql: string, prepare: () => Value): Value {
  const seen = known.get(sql)
  if (seen !== undefined) return seen
  const fresh = prepare()
  known.set(sql, fresh)
  return fresh
}
