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

function kindByMagic(head: Buffer): ContentKind | undefined {
  switch (head[0]) {
    case 0x7f:
      return starts(head, "\x7fELF") ? kindOfElf(head) : undefined
    case 0x21:
      return starts(head, "!<arch>\n") || starts(head, "!<thin>\n") ? "ar" : kindByOffset(head)
    case 0x1f:
      return starts(head, "\x1f\x8b\x08") ? "gzip" : kindByOffset(head)
    case 0x28:
      return starts(head, "\x28\xb5\x2f\xfd") ? "zstd" : kindByOffset(head)
    case 0xfd:
      return starts(head, "\xfd7zXZ\0") ? "xz" : kindByOffset(head)
    case 0x42:
      return isBzip2(head) ? "bzip2" : kindByOffset(head)
    case 0x50:
      return starts(head, "PK\x03\x04") || starts(head, "PK\x05\x06") ? "zip" : kindByOffset(head)
    case 0x53:
      return starts(head, "SQLite format 3\0") ? "sqlite" : kindByOffset(head)
    case 0x68:
      return starts(head, "hsqs") ? "squashfs" : kindByOffset(head)
    case 0x73:
      return starts(head, "sqsh") ? "squashfs" : kindByOffset(head)
    default:
      return kindByOffset(head)
  }
}

function kindByOffset(head: Buffer): ContentKind | undefined {
  if (isBytecode(head)) return "python-bytecode"
  if (startsAt(head, 257, "ustar")) return "tar"
  return startsAt(head, 32_769, "CD001") ? "iso9660" : undefined
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

const isBzip2 = (head: Buffer) =>
  /^BZh[1-9]$/.test(head.toString("latin1", 0, 4)) &&
  (startsAt(head, 4, "1AY&SY") || startsAt(head, 4, "\x17\x72\x45\x38\x50\x90"))

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
const PEM_SAMPLE_BYTES = 4096

function kindOfText(head: Buffer): ContentKind {
  if (head[0] === 0x23 && head[1] === 0x21) return "script"
  if (!head.subarray(0, PEM_SAMPLE_BYTES).includes("-----BEGIN ")) return "text"
  // A certificate may stand before the key, and the key is what matters.
  const labels = Array.from(head.toString("latin1").matchAll(PEM), ([, label]) => label ?? "")
  if (labels.length === 0) return "text"
  return labels.some(label => label.endsWith("PRIVATE KEY")) ? "private-key" : "pem"
}
