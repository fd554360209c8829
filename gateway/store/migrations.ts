/**
 * The schema, as a list of steps. A step is never changed once released: the next one is added below. `user_version`
 * says how many were applied; a database with more of them than this build knows is refused.
 */

import { RclaudeError } from '../../protocol/errors.ts'
import { VERSION } from '../../protocol/version.ts'
import type { Database } from '../database.ts'
import { backupThatFits, saveBefore } from './before-migration.ts'

const STEPS: readonly string[] = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE tasks (
    n INTEGER PRIMARY KEY,                 -- creation order: the cursor of lists
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,              -- counts changes: the compare of compare-and-set
    facts TEXT NOT NULL,                   -- JSON: the facts of the state
    spec TEXT NOT NULL,
    turns TEXT NOT NULL,
    workspace TEXT NOT NULL,
    usage TEXT NOT NULL,
    stop_requested TEXT,
    retry_of TEXT,
    isolation TEXT,
    created_at TEXT NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    event_bytes INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX tasks_by_state ON tasks (state, n);
  CREATE INDEX tasks_by_owner ON tasks (owner, n);

  CREATE TABLE events (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    turn INTEGER NOT NULL,
    launch_id TEXT,                        -- with agent_seq: what the agent said, once
    agent_seq INTEGER,
    body TEXT NOT NULL,
    PRIMARY KEY (task_id, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX events_of_agent ON events (launch_id, agent_seq) WHERE launch_id IS NOT NULL;

  CREATE TABLE secrets (
    task_id TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE launches (
    launch_id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    launcher TEXT NOT NULL,
    join_hash TEXT NOT NULL,
    credential_hash TEXT,
    placement TEXT,
    created_at TEXT NOT NULL,
    closed_at TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX launches_of_task ON launches (task_id);

  CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    PRIMARY KEY (owner, key)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    user TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    user TEXT NOT NULL,
    token_id TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    task_id TEXT,                          -- no reference: the row outlives the task
    request_id TEXT NOT NULL,
    detail TEXT
  ) STRICT;
  CREATE INDEX audit_of_task ON audit (task_id, id);
  `,
  // What is large and does not change leaves the row that every batch of events writes anew.
  `
  CREATE TABLE task_texts (
    task_id TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    spec TEXT NOT NULL,
    prompts TEXT NOT NULL                  -- JSON: one for each turn, in order; written again only with a new turn
  ) STRICT;
  INSERT INTO task_texts
    SELECT id, spec, (SELECT json_group_array(turn.value -> '$.prompt') FROM json_each(turns) AS turn) FROM tasks;
  UPDATE tasks
    SET turns = (SELECT json_group_array(json_remove(turn.value, '$.prompt')) FROM json_each(turns) AS turn);
  ALTER TABLE tasks DROP COLUMN spec;
  `,
  // Ways to a model that users keep on the gateway.
  `
  CREATE TABLE models (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,                -- JSON: kind, address, region ...
    secret_names TEXT NOT NULL,            -- JSON
    sealed BLOB,
    is_default INTEGER NOT NULL,           -- of the owner: at most one
    created_at TEXT NOT NULL,
    PRIMARY KEY (owner, name)
  ) STRICT, WITHOUT ROWID;
  `,
  // Tasks that are stopped when their client is gone; narrowed tokens, and tokens with a new value beside the old one; shares.
  `
  ALTER TABLE tokens ADD COLUMN scope TEXT;          -- JSON; null for all that the role may do
  ALTER TABLE tokens ADD COLUMN rotated_at TEXT;
  ALTER TABLE tokens ADD COLUMN previous_hash TEXT;
  ALTER TABLE tokens ADD COLUMN previous_until TEXT;
  CREATE INDEX tokens_by_previous ON tokens (previous_hash) WHERE previous_hash IS NOT NULL;

  CREATE TABLE leases (
    task_id TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    grace_seconds INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE shares (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    user TEXT NOT NULL,
    access TEXT NOT NULL,
    by TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (task_id, user)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX shares_of_user ON shares (user, task_id);
  `,
  // Limits: of tokens, and what the queue and the accounts need to know of a task without reading its texts.
  `
  ALTER TABLE tokens ADD COLUMN limits TEXT;        -- JSON
  ALTER TABLE tasks ADD COLUMN token_id TEXT;       -- that asked for the newest turn; no reference: see audit
  ALTER TABLE tasks ADD COLUMN agent TEXT;
  ALTER TABLE tasks ADD COLUMN budget_usd REAL;     -- that the task asked for
  ALTER TABLE tasks ADD COLUMN pruned TEXT;         -- JSON
  ALTER TABLE tasks ADD COLUMN ended_at TEXT;
  UPDATE tasks SET (agent, budget_usd) =
    (SELECT spec ->> '$.agent', spec ->> '$.limits.budgetUsd' FROM task_texts WHERE task_id = id AND json_valid(spec));
  UPDATE tasks SET ended_at = facts ->> '$.endedAt' WHERE state = 'ended' AND json_valid(facts);
  CREATE INDEX tasks_by_end ON tasks (ended_at, n) WHERE ended_at IS NOT NULL;
  CREATE TABLE spending (
    day TEXT NOT NULL,                              -- UTC
    owner TEXT NOT NULL,
    token_id TEXT NOT NULL,                         -- '' for tasks older than this table
    usd REAL NOT NULL,
    PRIMARY KEY (day, owner, token_id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE pruned_tasks (
    task_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    at TEXT NOT NULL,
    by TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  // What a launcher was asked: a launch that is cut off goes on as it began. And what machines cost.
  `
  ALTER TABLE launches ADD COLUMN request BLOB;     -- sealed; null once there is a placement
  ALTER TABLE tasks ADD COLUMN machine_cost TEXT;   -- JSON; of the machines that are gone
  `,
  // Whose agent was let in by its launcher's word; those of before were let in by their join code.
  `
  ALTER TABLE launches ADD COLUMN vouched_at TEXT;
  UPDATE launches SET vouched_at = created_at WHERE credential_hash IS NOT NULL;
  `,
  // Browsers that were let in to previews.
  `
  CREATE TABLE previews (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,               -- of the cookie
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    port INTEGER NOT NULL,
    user TEXT NOT NULL,
    token_hash TEXT NOT NULL,                       -- of the value that the token had
    address TEXT NOT NULL,
    entered_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
  ) STRICT;
  CREATE INDEX previews_of_task ON previews (task_id);
  `,
]

export const SCHEMA_VERSION = STEPS.length

/** @param upTo how many steps are wanted: all of them, but for who tries the last ones out */
export function migrate(database: Database, upTo = STEPS.length, options: MigrateOptions = {}): void {
  const applied = database.prepareValue<[], number>('PRAGMA user_version').get() ?? 0
  if (applied > STEPS.length) throw new RclaudeError('version_mismatch', tooNew(database, applied))
  if (applied >= upTo) return
  if (applied > 0) options.onBackup?.(saveBefore(database, applied, upTo), applied, upTo)
  database.transaction(() => {
    for (const [index, step] of STEPS.slice(applied, upTo).entries()) {
      database.exec(step)
      options.onStep?.(applied + index + 1)
    }
    database.exec(`PRAGMA user_version = ${upTo}`)
  })()
}

export interface MigrateOptions {
  /** Told of the copy that was made before an existing database is changed. */
  onBackup?: (file: string, from: number, to: number) => void
  /** Told after each step, within the transaction. */
  onStep?: (schema: number) => void
}

function tooNew(database: Database, applied: number): string {
  const fits = backupThatFits(database.name, STEPS.length)
  const otherwise =
    fits === undefined
      ? 'or restore a backup of that time'
      : `or go back to ${fits.file} (schema ${fits.schema}): stop the gateway and put it in the place of ${database.name}; what happened since is lost`
  return `the database was written by a newer gateway (schema ${applied}, gateway ${VERSION} knows ${STEPS.length}): run the newer gateway, ${otherwise}`
}
