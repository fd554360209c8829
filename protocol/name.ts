/** Names that people give, and that may name a file: lower case only, as some file systems tell no `Work` from `work`. */
import { z } from 'zod'

export const PlainName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'expected lower-case letters, digits, . _ -')
