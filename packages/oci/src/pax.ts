import { isUtf8 } from "node:buffer"
import { EvidenceError } from "@envidence/core"

// Extended headers of POSIX.1-2001 ("pax Header Block"): records "<length> <key>=<value>\n", the length in bytes and of
// the whole record. Values are raw bytes here, since names and attributes need not be UTF-8.

export interface PaxRecord {
  readonly key: string
  readonly value: Buffer
}

/** What the records of one entry override; absent where they do not. */
export interface PaxOverrides {
  readonly path?: Buffer
  readonly linkTarget?: Buffer
  readonly size?: number
  readonly uid?: number
  readonly gid?: number
  readonly userName?: Buffer
  readonly groupName?: Buffer
  readonly mtime?: number
  readonly xattrs: ReadonlyMap<string, Buffer>
}

const malformed = (why: string) => new EvidenceError("malformed-image", `pax header: ${why}`)

const SPACE = 0x20
const EQUALS = 0x3d
const NEWLINE = 0x0a
const LENGTH_DIGITS = 10

/** @throws EvidenceError malformed-image */
export function parsePaxRecords(bytes: Buffer): PaxRecord[] {
  const records: PaxRecord[] = []
  for (let start = 0; start < bytes.length; ) {
    const space = bytes.indexOf(SPACE, start)
    const digits = space < 0 || space - start > LENGTH_DIGITS ? "" : bytes.toString("latin1", start, space)
    if (!/^[1-9]\d*$/.test(digits)) throw malformed("a record without its length")
    const end = start + Number(digits)
    const equals = bytes.indexOf(EQUALS, space)
    if (end > bytes.length || equals < 0 || equals >= end || bytes[end - 1] !== NEWLINE)
      throw malformed("a record of another length than it says")
    const key = bytes.subarray(space + 1, equals)
    if (key.length === 0 || key.includes(0) || !isUtf8(key)) throw malformed("a record with a broken key")
    records.push({ key: key.toString(), value: bytes.subarray(equals + 1, end - 1) })
    start = end
  }
  return records
}

const XATTR = "SCHILY.xattr."
const SPARSE = "GNU.sparse."
const MEANING = new Set(["path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "hdrcharset"])

/**
 * Global headers are read but may not say anything of the entries: Go's reader, which unpacks for containerd, Docker and
 * Podman, ignores them, and GNU tar obeys them. (`git archive` writes a harmless comment.)
 *
 * @throws EvidenceError malformed-image
 */
export function refuseMeaning(records: readonly PaxRecord[]): void {
  for (const { key } of records)
    if (MEANING.has(key) || key.startsWith(XATTR) || key.startsWith(SPARSE))
      throw malformed(`a global header sets ${JSON.stringify(key.slice(0, 64))}, which readers disagree about`)
}

interface Draft {
  path?: Buffer
  linkTarget?: Buffer
  size?: number
  uid?: number
  gid?: number
  userName?: Buffer
  groupName?: Buffer
  mtime?: number
  xattrs: Map<string, Buffer>
}

const NO_OVERRIDES: PaxOverrides = { xattrs: new Map() }

/** The last record of a key wins, and an empty value leaves the header's. @throws EvidenceError malformed-image */
export function applyPaxRecords(records: readonly PaxRecord[], xattrBytes: number): PaxOverrides {
  if (records.length === 0) return NO_OVERRIDES
  const draft: Draft = { xattrs: new Map() }
  let bytes = 0
  for (const { key, value } of records) {
    if (key.startsWith(SPARSE)) throw malformed("a sparse file: pack the layer without --sparse")
    if (key.startsWith(XATTR)) {
      bytes += key.length + value.length
      if (bytes > xattrBytes || draft.xattrs.size >= XATTRS)
        throw new EvidenceError("limit-exceeded", `extended attributes of more than ${xattrBytes} bytes on one entry`)
      draft.xattrs.set(key.slice(XATTR.length), value)
    } else if (value.length > 0) applyRecord(draft, key, value)
  }
  return draft
}

const XATTRS = 64

function applyRecord(draft: Draft, key: string, value: Buffer): void {
  if (key === "path") draft.path = name(key, value)
  else if (key === "linkpath") draft.linkTarget = name(key, value)
  else if (key === "uname") draft.userName = name(key, value)
  else if (key === "gname") draft.groupName = name(key, value)
  else if (key === "size") draft.size = count(key, value)
  else if (key === "uid") draft.uid = count(key, value)
  else if (key === "gid") draft.gid = count(key, value)
  else if (key === "mtime") draft.mtime = seconds(value)
}

function name(key: string, value: Buffer): Buffer {
  if (value.includes(0)) throw malformed(`a ${key} with a NUL inside`)
  return value
}

function count(key: string, value: Buffer): number {
  const text = value.toString("latin1")
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number)) throw malformed(`a ${key} that is not a count`)
  return number
}

function seconds(value: Buffer): number {
  const text = value.toString("latin1")
  if (!/^-?\d{1,15}(\.\d{0,32})?$/.test(text)) throw malformed("an mtime that is not a number")
  // Minus zero is zero, and has no form of its own in JSON.
  return Number(text) || 0
}
