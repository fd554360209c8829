/** Output and input, byte for byte: through the built program, whose own streams are part of what is tried. */
import { type Case, sh } from './case.ts'

const MIB = 1024 ** 2
const allBytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
const octal = [...allBytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
/** Deterministic, and no two pages alike. */
const noise = (bytes: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, at) => (at * 2_654_435_761) >>> 0).buffer)
const lines = (count: number, of: (n: number) => string): string =>
  Array.from({ length: count }, (_, at) => `${of(at + 1)}\n`).join('')

export const OUTPUT: Case[] = [
  { name: 'nothing at all', argv: ['true'], stdout: '', stderr: '' },
  { name: 'stdout alone', argv: sh('echo out'), stdout: 'out\n', stderr: '' },
  { name: 'stderr alone', argv: sh('echo err >&2'), stdout: '', stderr: 'err\n' },
  { name: 'no newline at the end', argv: ['printf', 'x'], stdout: 'x' },
  {
    name: 'the two channels in turn, 2,000 lines, each whole',
    argv: sh('i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo o$i; echo e$i >&2; done'),
    stdout: lines(2_000, (n) => `o${n}`),
    stderr: lines(2_000, (n) => `e${n}`),
  },
  {
    name: 'every byte there is, on both channels',
    argv: sh(`printf '${octal}'; printf '${octal}' >&2`),
    stdout: allBytes,
    stderr: allBytes,
  },
  {
    name: '8 MiB on each channel at once',
    argv: sh(`head -c ${8 * MIB} /dev/zero | tr '\\0' o & head -c ${8 * MIB} /dev/zero | tr '\\0' e >&2; wait`),
    stdout: Buffer.alloc(8 * MIB, 'o'),
    stderr: Buffer.alloc(8 * MIB, 'e'),
  },
  {
    name: '100,000 one-byte writes',
    argv: ['dd', 'if=/dev/zero', 'bs=1', 'count=100000', 'status=none'],
    stdout: Buffer.alloc(100_000),
  },
  {
    name: 'stdout closed early',
    argv: sh('echo first; exec >&-; echo err >&2; sleep 0.1; exit 3'),
    code: 3,
    stdout: 'first\n',
    stderr: 'err\n',
  },
  { name: 'both channels closed early', argv: sh('exec >&- 2>&-; sleep 0.1; exit 4'), code: 4 },
  {
    name: 'what is written just before the end',
    argv: sh('head -c 300000 /dev/zero; exit 9'),
    code: 9,
    stdout: Buffer.alloc(300_000),
  },
]

export const INPUT: Case[] = [
  { name: 'stdin without -i is empty', argv: ['wc', '-c'], stdout: '0\n' },
  { name: 'stdin with -i and nothing on it ends', argv: ['wc', '-c'], stdin: Buffer.alloc(0), stdout: '0\n' },
  { name: 'stdin: text', argv: ['cat'], stdin: Buffer.from('hello\nworld'), stdout: 'hello\nworld' },
  { name: 'stdin: every byte there is', argv: ['cat'], stdin: allBytes, stdout: allBytes },
  { name: 'stdin: 3 MiB there and back', argv: ['cat'], stdin: noise(3 * MIB), stdout: noise(3 * MIB) },
  {
    name: 'stdin: its end comes after its last byte',
    argv: sh('cat >/dev/null; echo ended; exit 5'),
    stdin: Buffer.alloc(MIB),
    code: 5,
    stdout: 'ended\n',
  },
  {
    name: 'stdin: stdout goes on after its end',
    argv: sh('cat; sleep 0.2; echo more'),
    stdin: Buffer.from('x\n'),
    stdout: 'x\nmore\n',
  },
  { name: 'stdin: ignored by the process', argv: sh('exit 6'), stdin: Buffer.alloc(4 * MIB), code: 6 },
  {
    name: 'stdin: closed early by the process',
    argv: sh('exec <&-; sleep 0.2; echo after; exit 7'),
    stdin: Buffer.alloc(4 * MIB),
    code: 7,
    stdout: 'after\n',
  },
  {
    name: 'stdin: read in part',
    argv: ['head', '-c', '5'],
    stdin: Buffer.concat([Buffer.from('12345'), Buffer.alloc(4 * MIB)]),
    stdout: '12345',
  },
  {
    name: 'stdin: line by line by several readers',
    argv: sh('read a; read b; echo "$b $a"; cat'),
    stdin: Buffer.from('one\ntwo\nthree\n'),
    stdout: 'two one\nthree\n',
  },
]
