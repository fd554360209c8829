/** Opens a store and kills itself without a word (SIGKILL) when the copy is made, or in the middle of the migration. */
import { openStore } from '../../gateway/store/sqlite.ts'

const [file = '', at] = process.argv.slice(2)
const die = () => void process.kill(process.pid, 'SIGKILL')

openStore(file, undefined, at === 'saved' ? { onBackup: die } : { onStep: die })
