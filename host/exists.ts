import { access } from 'node:fs/promises'

/** Whether anything is there that we may reach; a link counts by what it leads to. */
export const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
