import { type Compression, concatBytes } from "../compression.js"
import { encodeUtf8 } from "../encoding.js"
import { EvidenceError } from "../errors.js"
import { limits } from "../limits.js"
import { gunzip, gzip } from "./gzip.js"
import { MEMBER_NAME } from "./members.js"

const BLOCK = 512
const END_BLOCKS = 2

export interface ArchiveMember {
  readonly path: string
  readonly bytes: Uint8Array
}

/**
 * Packs members, in the order given, into the only form that `unpackArchive` accepts: ustar (POSIX.1-1988) headers with
 * fixed mode, owner and time, in one gzip member. Equal input gives equal bytes on one zlib.
 *
 * @throws EvidenceError malformed-archive, limit-exceeded where `unpackArchive` would refuse the result
 */
export async function packArchive(members: readonly ArchiveMember[], compression: Compression): Promise<Uint8Array> {
  checkMembers(members)
  const chunks: Uint8Array[] = []
  for (const { path, bytes } of members) {
    chunks.push(header(path, bytes.length), bytes, new Uint8Array(padding(bytes.length)))
  }
  chunks.push(new Uint8Array(END_BLOCKS * BLOCK))
  const packed = await gzip(concatBytes(chunks), compression)
  checkPacked(packed)
  return packed
}

function checkMembers(members: readonly ArchiveMember[]): void {
  if (members.length > limits.members) throw tooMuch(`the bundle has ${members.length} members`, limits.members)
  const seen = new Set<string>()
  let size = END_BLOCKS * BLOCK
  for (const { path, bytes } of members) {
    if (seen.has(path)) throw malformed(`duplicate member ${path}`)
    seen.add(path)
    size += BLOCK + bytes.length + padding(bytes.length)
  }
  if (size > limits.unpackedBytes) throw tooMuch(`the bundle has ${size} bytes unpacked`, limits.unpackedBytes)
}

function checkPacked(packed: Uint8Array): void {
  if (packed.length > limits.packedBytes) throw tooMuch(`the bundle has ${packed.length} bytes`, limits.packedBytes)
}

/**
 * Reads an archive strictly and in memory. Every header must be, byte for byte, the one that `packArchive` would write
 * for that name and size: so there are only regular files, with nothing hidden in fields, padding or after the end.
 *
 * @throws EvidenceError malformed-archive, limit-exceeded
 */
export async function unpackArchive(packed: Uint8Array, compression: Compression): Promise<ArchiveMember[]> {
  checkPacked(packed)
  const bytes = await gunzip(packed, compression)
  const members: ArchiveMember[] = []
  const seen = new Set<string>()
  let offset = 0
  while (!isZero(bytes, offset, BLOCK)) {
    const member = readMember(bytes, offset)
    if (seen.has(member.path)) throw malformed(`duplicate member ${member.path}`)
    seen.add(member.path)
    members.push(member)
    if (members.length > limits.members) throw tooMuch("too many members", limits.members)
    offset += BLOCK + member.bytes.length + padding(member.bytes.length)
  }
  if (bytes.length !== offset + END_BLOCKS * BLOCK || !isZero(bytes, offset, END_BLOCKS * BLOCK))
    throw malformed("the archive does not end where its last member ends")
  return members
}

function readMember(bytes: Uint8Array, offset: number): ArchiveMember {
  if (offset + BLOCK > bytes.length) throw malformed("the archive is cut off")
  const block = bytes.subarray(offset, offset + BLOCK)
  const path = memberName(block)
  const size = memberSize(block, path)
  const type = String.fromCharCode(block[156] as number)
  if (type !== "0") throw malformed(`member ${path} is not a regular file (type ${JSON.stringify(type)})`)
  if (!equalBytes(block, header(path, size))) throw malformed(`member ${path}: not the header that this format demands`)
  const end = offset + BLOCK + size
  if (end + padding(size) > bytes.length) throw malformed(`member ${path} is cut off`)
  if (!isZero(bytes, end, padding(size))) throw malformed(`member ${path}: padding is not zero`)
  return { path, bytes: bytes.subarray(offset + BLOCK, end) }
}

function memberName(block: Uint8Array): string {
  let name = ""
  for (let i = 0; i < limits.memberNameBytes && block[i] !== 0; i++) name += String.fromCharCode(block[i] as number)
  if (!MEMBER_NAME.test(name)) throw malformed(`a member's name is not allowed: ${JSON.stringify(name)}`)
  return name
}

function memberSize(block: Uint8Array, path: string): number {
  const text = String.fromCharCode(...block.subarray(124, 135))
  if (!/^[0-7]{11}$/.test(text)) throw malformed(`member ${path}: its size is not octal`)
  return Number.parseInt(text, 8)
}

function header(path: string, size: number): Uint8Array {
  if (!MEMBER_NAME.test(path) || path.length > limits.memberNameBytes)
    throw malformed(`member name ${JSON.stringify(path)}`)
  const block = new Uint8Array(BLOCK)
  const put = (offset: number, text: string) => block.set(encodeUtf8(text), offset)
  put(0, path)
  put(100, "0000644\0")
  put(108, "0000000\0")
  put(116, "0000000\0")
  put(124, `${size.toString(8).padStart(11, "0")}\0`)
  put(136, "00000000000\0")
  put(148, "        ")
  put(156, "0")
  put(257, "ustar\u000000")
  const sum = block.reduce((total, byte) => total + byte, 0)
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `)
  return block
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK

function isZero(bytes: Uint8Array, offset: number, length: number): boolean {
  if (offset + length > bytes.length) return false
  for (let i = offset; i < offset + length; i++) if (bytes[i] !== 0) return false
  return true
}

const equalBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])

const malformed = (why: string) => new EvidenceError("malformed-archive", `bundle: ${why}`)

const tooMuch = (what: string, limit: number) => new EvidenceError("limit-exceeded", `${what}; the limit is ${limit}`)
