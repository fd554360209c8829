/** Users' model profiles. Secrets lie sealed; whoever reads the database alone learns their names. */

import { ModelSettings } from '../../protocol/model.ts'
import type { Database } from '../database.ts'
import type { Store, StoredModel } from './store.ts'

interface Row {
  owner: string
  name: string
  settings: string
  secret_names: string
  sealed: Buffer | null
  is_default: number
  created_at: string
}

type ModelPart = Pick<Store, 'putModel' | 'listModels' | 'deleteModel'>

export function modelTables(database: Database): ModelPart {
  const list = database.prepare<[string], Row>('SELECT * FROM models WHERE owner = ? ORDER BY name')
  const put = database.prepare('INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?, ?)')
  const undefault = database.prepare('UPDATE models SET is_default = 0 WHERE owner = ?')
  return {
    putModel: database.transaction((model: StoredModel) => {
      if (model.isDefault) undefault.run(model.owner)
      put.run(
        model.owner,
        model.name,
        JSON.stringify(model.settings),
        JSON.stringify(model.secretNames),
        model.sealed ?? null,
        Number(model.isDefault),
        model.createdAt,
      )
    }),
    listModels: (owner) => list.all(owner).map(toModel),
    deleteModel: (owner, name) =>
      database.prepare('DELETE FROM models WHERE owner = ? AND name = ?').run(owner, name).changes === 1,
  }
}

const toModel = (row: Row): StoredModel => ({
  owner: row.owner,
  name: row.name,
  settings: ModelSettings.parse(JSON.parse(row.settings)),
  secretNames: JSON.parse(row.secret_names) as string[],
  ...(row.sealed !== null && { sealed: row.sealed }),
  isDefault: row.is_default === 1,
  createdAt: row.created_at,
})
