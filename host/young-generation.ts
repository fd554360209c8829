/**
 * Keeps V8's young generation as small as it begins (imported first by the mains of gateway and agent). Node makes a 64 KiB
 * buffer for each read of a socket or pipe. In a young generation that has grown, these live until 64 MB of them end in a full
 * collection with its helper threads; in a small one they die in cheap scavenges: 10 to 25 % more through gateway and agent
 * (docs/decisions/009-where-the-tunnels-time-goes.md).
 */
import { setFlagsFromString } from 'node:v8'

setFlagsFromString('--semi-space-growth-factor=1')
