/** Browsers that were let in to previews. A task's rows go with it. */
import type { Database } from '../database.ts'
import type { Store, StoredPreview } from './store.ts'

type PreviewPart = Pick<Store, 'insertPreview' | 'findPreview' | 'listPreviews' | 'deletePreview'>

const COLUMNS = `id, secret_hash AS secretHash, task_id AS taskId, port, user, token_hash AS tokenHash, address,
  entered_at AS enteredAt, expires_at AS expiresAt`

export function previewTables(database: Database): PreviewPart {
  const find = database.prepare<[string], StoredPreview>(`SELECT ${COLUMNS} FROM previews WHERE secret_hash = ?`)
  return {
    insertPreview(preview) {
      database.prepare<[string]>('DELETE FROM previews WHERE expires_at <= ?').run(preview.enteredAt)
      const { id, secretHash, taskId, port, user, tokenHash, address, enteredAt, expiresAt } = preview
      database
        .prepare('INSERT INTO previews VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
        .run(id, secretHash, taskId, port, user, tokenHash, address, enteredAt, expiresAt)
    },
    findPreview: (secretHash) => find.get(secretHash),
    listPreviews: (taskId) =>
      database
        .prepare<[string], StoredPreview>(`SELECT ${COLUMNS} FROM previews WHERE task_id = ? ORDER BY entered_at, id`)
        .all(taskId),
    deletePreview: (id) => void database.prepare('DELETE FROM previews WHERE id = ?').run(id),
  }
}
