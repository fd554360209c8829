/**
 * SSH into a running task: OpenSSH's own server, started for one connection with its input and output on an attached process
 * (`rclaude.process.v1`). Nothing listens on a port. The client hands over its public key and learns the host key through the
 * gateway, so neither side has to trust what it sees first.
 */
import { z } from 'zod'
import { ProcessId } from './ids.ts'

/** One line of an authorized_keys file, without options. RSA keys of 16,384 bits are about 3 KB. */
export const PublicKey = z
  .string()
  .max(8_192)
  .regex(
    /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+={0,2}( [\x20-\x7e]{0,200})?$/,
    'expected one public key of OpenSSH, such as ssh-ed25519 AAAA...',
  )

export const OpenSsh = z.object({ publicKey: PublicKey })
export type OpenSsh = z.infer<typeof OpenSsh>

/** Whom to log in as. */
export const SshUser = z.object({ user: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}$/) })
export type SshUser = z.infer<typeof SshUser>

export const SshSession = SshUser.extend({
  /** Runs the server; to be attached to. */
  processId: ProcessId,
  hostKey: PublicKey,
})
export type SshSession = z.infer<typeof SshSession>
