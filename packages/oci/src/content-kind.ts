import type { InventoryEntry } from "@envidence/core"

export type ContentKind = NonNullable<InventoryEntry["content"]>

/** Bytes from a file's start that decide its kind: ISO 9660 has its mark furthest in. */
export const CONTENT_HEAD_BYTES = 32_774

const TEXT_SAMPLE_BYTES = 1024

/**
 * What a file is by its first bytes, never by its name. `head` holds the first CONTENT_HEAD_BYTES of the file, or all of
 * a smaller one.
 */
export function contentKind(head: Buffer): ContentKind {
  if (head.length === 0) return "empty"
  return kindByMagic(head) ?? (isText(head) ? kindOfText(head) : "binary")
}

interface Magic {
  readonly kind: ContentKind
  readonly magic: string
  /** A further condition, where the first bytes alone say too little. */
  readonly holds?: (head: Buffer) => boolean
}

// By first byte, so that most files are compared with nothing. The more particular stands before the more general.
const MAGICS: ReadonlyMap<number, readonly Magic[]> = Map.groupBy<number, Magic>(
  [
    { kind: "deb", magic: "!<arch>\ndebian-binary" },
    { kind: "ar", magic: "!<arch>\n" },
    { kind: "ar", magic: "!<thin>\n" },
    { kind: "rpm", magic: "\xed\xab\xee\xdb" },
    { kind: "gzip", magic: "\x1f\x8b\x08" },
    { kind: "compress", magic: "\x1f\x9d" },
    { kind: "zstd", magic: "\x28\xb5\x2f\xfd" },
    { kind: "xz", magic: "\xfd7zXZ\0" },
    { kind: "bzip2", magic: "BZh", holds: isBzip2 },
    { kind: "lz4", magic: "\x04\x22\x4d\x18" },
    { kind: "lz4", magic: "\x02\x21\x4c\x18" },
    { kind: "lzip", magic: "LZIP\x01" },
    { kind: "zip", magic: "PK\x03\x04" },
    { kind: "zip", magic: "PK\x05\x06" },
    { kind: "7z", magic: "7z\xbc\xaf\x27\x1c" },
    { kind: "rar", magic: "Rar!\x1a\x07" },
    { kind: "cab", magic: "MSCF\0\0\0\0" },
    { kind: "xar", magic: "xar!\0\x1c" },
    { kind: "cpio", magic: "070701" },
    { kind: "cpio", magic: "070702" },
    { kind: "cpio", magic: "070707" },
    { kind: "cpio", magic: "\xc7\x71", holds: isBinaryCpio },
    { kind: "squashfs", magic: "hsqs" },
    { kind: "squashfs", magic: "sqsh" },
    { kind: "cramfs", magic: "\x45\x3d\xcd\x28" },
    { kind: "disk-image", magic: "QFI\xfb" },
    { kind: "disk-image", magic: "KDMV" },
    { kind: "disk-image", magic: "vhdxfile" },
    { kind: "disk-image", magic: "ANDROID!" },
    { kind: "git-pack", magic: "PACK\0\0\0", holds: head => head[7] === 2 || head[7] === 3 },
    { kind: "gguf", magic: "GGUF" },
    { kind: "hdf5", magic: "\x89HDF\r\n\x1a\n" },
    { kind: "parquet", magic: "PAR1" },
    { kind: "sqlite", magic: "SQLite format 3\0" },
    { kind: "key-store", magic: "\xfe\xed\xfe\xed", holds: holdsPrivateKey },
    { kind: "key-store", magic: "\xce\xce\xce\xce", holds: holdsPrivateKey },
    { kind: "private-key", magic: "PuTTY-User-Key-File-" },
  ],
  ({ magic }) => magic.charCodeAt(0),
)

function kindByMagic(head: Buffer): ContentKind | undefined {
  if (starts(head, "\x7fELF")) return kindOfElf(head)
  const found = MAGICS.get(head[0] ?? 0)?.find(({ magic, holds }) => starts(head, magic) && holds?.(head) !== false)
  return found?.kind ?? kindByOffset(head)
}

function kindByOffset(head: Buffer): ContentKind | undefined {
  if (isBytecode(head)) return "python-bytecode"
  if (startsAt(head, 257, "ustar") || isOldTar(head)) return "tar"
  if (startsAt(head, 32_769, "CD001")) return "iso9660"
  if (startsAt(head, 1024, "\xe2\xe1\xf5\xe0")) return "erofs"
  if (isExt(head)) return "ext"
  if (isSafetensors(head)) return "safetensors"
  return head[0] === 0x23 ? kindAfterInterpreter(head) : undefined
}

const starts = (head: Buffer, magic: string) => startsAt(head, 0, magic)

function startsAt(head: Buffer, offset: number, magic: string): boolean {
  if (head.length < offset + magic.length) return false
  for (let i = 0; i < magic.length; i++) if (head[offset + i] !== magic.charCodeAt(i)) return false
  return true
}

const RELOCATABLE = 1 // e_type ET_REL: what a compiler leaves for the linker

function kindOfElf(head: Buffer): ContentKind {
  if (head.length < 18) return "elf"
  const bigEndian = head[5] === 2
  return (bigEndian ? head.readUInt16BE(16) : head.readUInt16LE(16)) === RELOCATABLE ? "elf-object" : "elf"
}

function isBzip2(head: Buffer): boolean {
  const level = head[3] ?? 0
  return (
    level >= 0x31 && level <= 0x39 && (startsAt(head, 4, "1AY&SY") || startsAt(head, 4, "\x17\x72\x45\x38\x50\x90"))
  )
}

// Two bytes are little: the header's name must end where it says.
function isBinaryCpio(head: Buffer): boolean {
  if (head.length < 26) return false
  const nameBytes = head.readUInt16LE(20)
  return nameBytes > 0 && head[25 + nameBytes] === 0
}

// A keystore of Java: its entries begin with 1 for a private key, 2 for a certificate that is trusted.
function holdsPrivateKey(head: Buffer): boolean {
  return head.length >= 16 && head.readUInt32BE(8) > 0 && head.readUInt32BE(12) === 1
}

const TAR_CHECKSUM = 148

/** Archives before POSIX have no magic number: the header's checksum tells. */
function isOldTar(head: Buffer): boolean {
  const first = head[TAR_CHECKSUM] ?? 0
  if (head.length < 512 || head[0] === 0 || !(first === 0x20 || (first >= 0x30 && first <= 0x37))) return false
  const field = /^[ 0]*([0-7]{3,6})[ \0]/.exec(head.toString("latin1", TAR_CHECKSUM, TAR_CHECKSUM + 8))?.[1]
  if (field === undefined) return false
  let sum = 8 * 0x20
  for (let i = 0; i < 512; i++) if (i < TAR_CHECKSUM || i >= TAR_CHECKSUM + 8) sum += head[i] as number
  return sum === Number.parseInt(field, 8)
}

const EXT_SUPERBLOCK = 1024

// s_magic, and a revision and block size that exist, since two bytes are little.
function isExt(head: Buffer): boolean {
  if (!startsAt(head, EXT_SUPERBLOCK + 56, "\x53\xef") || head.length < EXT_SUPERBLOCK + 84) return false
  return head.readUInt32LE(EXT_SUPERBLOCK + 76) <= 1 && head.readUInt32LE(EXT_SUPERBLOCK + 24) <= 6
}

const SAFETENSORS_HEADER_BYTES = 100_000_000 // the format's own limit

function isSafetensors(head: Buffer): boolean {
  if (head[8] !== 0x7b || head.length < 16 || head.readUInt32LE(4) !== 0) return false
  const headerBytes = head.readUInt32LE(0)
  return (
    headerBytes >= 2 && headerBytes <= SAFETENSORS_HEADER_BYTES && /^\{\s*["}]/.test(head.toString("latin1", 8, 32))
  )
}

const INTERPRETER_LINE_BYTES = 256

/** A Python zipapp, and other archives that begin with the line that runs them. */
function kindAfterInterpreter(head: Buffer): ContentKind | undefined {
  if (head[1] !== 0x21) return undefined
  const end = head.subarray(0, INTERPRETER_LINE_BYTES).indexOf(0x0a)
  return end < 0 || !startsAt(head, end + 1, "PK\x03\x04") ? undefined : "zip"
}

// The magic number of CPython's importlib: two bytes that rise with each release, then CR LF.
function isBytecode(head: Buffer): boolean {
  if (head.length < 16 || head[2] !== 0x0d || head[3] !== 0x0a) return false
  const version = head.readUInt16LE(0)
  return version >= 3000 && version < 5000
}

// Control characters that text files do have: BEL, BS, HT, LF, VT, FF, CR, ESC.
const TEXT_CONTROLS = 0x0800_3f80

function isText(head: Buffer): boolean {
  const end = Math.min(head.length, TEXT_SAMPLE_BYTES)
  for (let i = 0; i < end; i++) {
    const byte = head[i] as number
    if (byte < 0x20 && ((TEXT_CONTROLS >>> byte) & 1) === 0) return false
  }
  return true
}

const PEM = /^[ \t]*-----BEGIN ([A-Z0-9 ]*)-----/gm
const SECRET_SAMPLE_BYTES = 4096
// What npm and its like read from .npmrc. A reference to the environment is no secret, nor is a place for one.
const NPM_TOKEN = /^[ \t]*\/\/[^\s=]*:_(?:authToken|auth|password)[ \t]*=[ \t]*["']?[^\s"'${<%]/m

function kindOfText(head: Buffer): ContentKind {
  if (head[0] === 0x23 && head[1] === 0x21) return "script"
  const sample = head.subarray(0, SECRET_SAMPLE_BYTES)
  if (sample.includes(":_") && NPM_TOKEN.test(sample.toString("latin1"))) return "credentials"
  if (!sample.includes("-----BEGIN ")) return "text"
  // A certificate may stand before the key, and the key is what matters.
  const labels = Array.from(head.toString("latin1").matchAll(PEM), ([, label]) => label ?? "")
  if (labels.length === 0) return "text"
  return labels.some(label => label.endsWith("PRIVATE KEY")) ? "private-key" : "pem"
}
