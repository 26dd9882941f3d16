import { decodeTarHeader, EvidenceError, TAR_BLOCK_BYTES, type TarHeader } from "@envidence/core"
import { applyPaxRecords, type PaxRecord, parsePaxRecords, refuseMeaning } from "./pax.js"

// Our own reader, not node-tar, which decodes names as UTF-8 and drops SCHILY.xattr records: an inventory needs the raw
// bytes of both. It also has to refuse where readers disagree (a size on a directory, global pax headers that rename),
// since a layer must mean the same to the runtime that unpacks it.

export type EntryType = "file" | "directory" | "symlink" | "hardlink" | "char-device" | "block-device" | "fifo"

/** One entry with its extended records applied. Names are raw bytes. */
export interface TarEntry {
  readonly type: EntryType
  readonly path: Buffer
  readonly linkTarget: Buffer
  /** Bytes of content that follow; 0 for what is not a file. */
  readonly size: number
  /** Permission bits, set-user-id, set-group-id and sticky included. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly userName: Buffer
  readonly groupName: Buffer
  /** Seconds since 1970. */
  readonly mtime: number
  readonly deviceMajor: number
  readonly deviceMinor: number
  readonly xattrs: ReadonlyMap<string, Buffer>
}

export interface TarHandler {
  entry(entry: TarEntry): void
  /** A piece of the current file's content, valid only during the call. */
  content(piece: Buffer): void
  /** All of the current file's content has been given. */
  endOfFile(): void
}

export interface TarLimits {
  readonly entries: number
  /** Bytes of a path or a link target. */
  readonly pathBytes: number
  /** Bytes of one pax header or GNU long name. */
  readonly extensionBytes: number
  /** Bytes of one entry's extended attributes, names included. */
  readonly xattrBytes: number
}

type State = "header" | "extension" | "content" | "end"

const malformed = (why: string) => new EvidenceError("malformed-image", why)
const exceeded = (why: string) => new EvidenceError("limit-exceeded", why)

const EMPTY = Buffer.alloc(0)

/** A push parser: give it the archive in pieces of any size, then `end`. Keeps one block and one extension at most. */
export class TarReader {
  readonly #handler: TarHandler
  readonly #limits: TarLimits
  #state: State = "header"
  #offset = 0
  #entries = 0
  /** Blocks of zeros seen; two end the archive. */
  #zeroBlocks = 0
  /** Bytes still to come of the extension or the content, and of the zeros that fill its last block. */
  #remaining = 0
  #padding = 0
  readonly #block = Buffer.alloc(TAR_BLOCK_BYTES)
  #blockFill = 0
  #extension = EMPTY
  #extensionFill = 0
  #extensionType = ""
  #pax: readonly PaxRecord[] | undefined
  #longName: Buffer | undefined
  #longLink: Buffer | undefined

  constructor(handler: TarHandler, limits: TarLimits) {
    this.#handler = handler
    this.#limits = limits
  }

  /** Bytes of the archive consumed so far. */
  get offset(): number {
    return this.#offset
  }

  /** @throws EvidenceError malformed-image, malformed-archive or limit-exceeded, after which the reader is of no use. */
  write(chunk: Buffer): void {
    let position = 0
    while (position < chunk.length) {
      const before = position
      position = this.#step(chunk, position)
      this.#offset += position - before
    }
  }

  /** For who can seek: leaves out the content that would come next. Returns its bytes, with what fills its last block. */
  skipContent(): number {
    if (this.#state !== "content") return 0
    const bytes = this.#remaining + this.#padding
    this.#remaining = 0
    this.#padding = 0
    this.#offset += bytes
    this.#state = "header"
    this.#handler.endOfFile()
    return bytes
  }

  end(): void {
    if (this.#state !== "end") throw malformed("the archive breaks off before its end-of-archive blocks")
  }

  #step(chunk: Buffer, position: number): number {
    switch (this.#state) {
      case "header":
        return this.#readHeader(chunk, position)
      case "extension":
        return this.#remaining > 0 ? this.#readExtension(chunk, position) : this.#skipPadding(chunk, position)
      case "content":
        return this.#remaining > 0 ? this.#readContent(chunk, position) : this.#skipPadding(chunk, position)
      case "end":
        return this.#skipZeros(chunk, position)
    }
  }

  #readHeader(chunk: Buffer, position: number): number {
    if (this.#blockFill === 0 && chunk.length - position >= TAR_BLOCK_BYTES) {
      this.#header(chunk.subarray(position, position + TAR_BLOCK_BYTES))
      return position + TAR_BLOCK_BYTES
    }
    const copied = chunk.copy(this.#block, this.#blockFill, position)
    this.#blockFill += copied
    if (this.#blockFill === TAR_BLOCK_BYTES) {
      this.#blockFill = 0
      this.#header(this.#block)
    }
    return position + copied
  }

  #header(block: Buffer): void {
    const header = decodeTarHeader(block)
    if (header === "end-of-archive-block") this.#zeroBlock()
    else if (this.#zeroBlocks > 0) throw malformed("an entry follows an end-of-archive block")
    else if ("xgLK".includes(header.typeflag)) this.#beginExtension(header)
    else this.#beginEntry(header)
  }

  #zeroBlock(): void {
    if (this.#pax !== undefined || this.#longName !== undefined || this.#longLink !== undefined)
      throw malformed("the archive ends after an extended header without its entry")
    this.#zeroBlocks++
    if (this.#zeroBlocks === 2) this.#state = "end"
  }

  #beginExtension({ typeflag, size }: TarHeader): void {
    const { extensionBytes } = this.#limits
    if (size > extensionBytes) throw exceeded(`an extended header of ${size} bytes; at most ${extensionBytes} are read`)
    if (typeflag === "x" && this.#pax !== undefined) throw malformed("two pax headers for one entry")
    if (typeflag === "L" && this.#longName !== undefined) throw malformed("two GNU long names for one entry")
    if (typeflag === "K" && this.#longLink !== undefined) throw malformed("two GNU long link names for one entry")
    this.#extensionType = typeflag
    this.#extension = Buffer.allocUnsafe(size)
    this.#extensionFill = 0
    this.#expect("extension", size)
    if (size === 0) this.#endExtension()
  }

  #readExtension(chunk: Buffer, position: number): number {
    const end = Math.min(chunk.length, position + this.#remaining)
    chunk.copy(this.#extension, this.#extensionFill, position, end)
    this.#extensionFill += end - position
    this.#remaining -= end - position
    if (this.#remaining === 0) this.#endExtension()
    return end
  }

  #endExtension(): void {
    const bytes = this.#extension
    this.#extension = EMPTY
    if (this.#extensionType === "x") this.#pax = parsePaxRecords(bytes)
    else if (this.#extensionType === "g") refuseMeaning(parsePaxRecords(bytes))
    else if (this.#extensionType === "L") this.#longName = untilNul(bytes)
    else this.#longLink = untilNul(bytes)
    if (this.#padding === 0) this.#state = "header"
  }

  #beginEntry(header: TarHeader): void {
    this.#entries++
    if (this.#entries > this.#limits.entries) throw exceeded(`more than ${this.#limits.entries} entries`)
    const entry = this.#assemble(header)
    this.#pax = undefined
    this.#longName = undefined
    this.#longLink = undefined
    this.#handler.entry(entry)
    if (entry.type !== "file") return
    this.#expect("content", entry.size)
    if (entry.size === 0) this.#handler.endOfFile()
  }

  #assemble(header: TarHeader): TarEntry {
    const extended = applyPaxRecords(this.#pax ?? [], this.#limits.xattrBytes)
    // Readers differ in which of the two wins.
    if ((extended.path && this.#longName) || (extended.linkTarget && this.#longLink))
      throw malformed("an entry has both a pax and a GNU long name")
    const path = this.#longName ?? extended.path ?? joinPrefix(header)
    const linkTarget = this.#longLink ?? extended.linkTarget ?? asBuffer(header.linkName)
    const type = typeOf(header.typeflag, path)
    const size = extended.size ?? header.size
    this.#check(type, path, linkTarget, size)
    return {
      type,
      path,
      linkTarget,
      size,
      mode: header.mode & 0o7777,
      uid: extended.uid ?? header.uid,
      gid: extended.gid ?? header.gid,
      userName: extended.userName ?? asBuffer(header.userName),
      groupName: extended.groupName ?? asBuffer(header.groupName),
      mtime: extended.mtime ?? header.mtime,
      deviceMajor: header.deviceMajor,
      deviceMinor: header.deviceMinor,
      xattrs: extended.xattrs,
    }
  }

  #check(type: EntryType, path: Buffer, linkTarget: Buffer, size: number): void {
    const { pathBytes } = this.#limits
    if (path.length === 0) throw malformed("an entry without a path")
    if (path.length > pathBytes) throw exceeded(`a path of ${path.length} bytes; at most ${pathBytes} are read`)
    if (linkTarget.length > pathBytes)
      throw exceeded(`a link target of ${linkTarget.length} bytes; at most ${pathBytes} are read`)
    const isLink = type === "symlink" || type === "hardlink"
    if (isLink && linkTarget.length === 0) throw malformed(`${show(path)} is a link to nothing`)
    if (type === "file") {
      // Some readers make a directory of it, whatever its type says.
      if (path.at(-1) === SLASH) throw malformed(`${show(path)} is a file whose path ends in a slash`)
    } else if (size > 0) {
      // Some readers skip that many bytes and some do not: after it they read different archives.
      throw malformed(`${show(path)} is a ${type} with a size of ${size}`)
    }
  }

  #readContent(chunk: Buffer, position: number): number {
    const end = Math.min(chunk.length, position + this.#remaining)
    this.#remaining -= end - position
    this.#handler.content(chunk.subarray(position, end))
    if (this.#remaining === 0) {
      this.#handler.endOfFile()
      if (this.#padding === 0) this.#state = "header"
    }
    return end
  }

  #expect(state: State, size: number): void {
    this.#remaining = size
    this.#padding = (TAR_BLOCK_BYTES - (size % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES
    this.#state = size === 0 ? "header" : state
  }

  #skipPadding(chunk: Buffer, position: number): number {
    const end = Math.min(chunk.length, position + this.#padding)
    this.#padding -= end - position
    if (this.#padding === 0) this.#state = "header"
    return end
  }

  #skipZeros(chunk: Buffer, position: number): number {
    for (let i = position; i < chunk.length; i++)
      if (chunk[i] !== 0) throw malformed("bytes follow the end of the archive")
    return chunk.length
  }
}

const SLASH = 0x2f

const show = (path: Buffer) => JSON.stringify(path.toString("latin1").slice(0, 128))

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const joinPrefix = ({ prefix, name }: TarHeader) =>
  prefix.length === 0 ? asBuffer(name) : Buffer.concat([prefix, Buffer.of(SLASH), name])

// GNU ends the name with a NUL; a name after it would be seen by some readers only.
function untilNul(bytes: Buffer): Buffer {
  const nul = bytes.indexOf(0)
  if (nul < 0) return bytes
  for (let i = nul; i < bytes.length; i++) if (bytes[i] !== 0) throw malformed("a GNU long name with a NUL inside")
  return bytes.subarray(0, nul)
}

const TYPES: Readonly<Record<string, EntryType>> = {
  "0": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "char-device",
  "4": "block-device",
  "5": "directory",
  "6": "fifo",
  "7": "file",
}

function typeOf(typeflag: string, path: Buffer): EntryType {
  // Before POSIX a directory was a file whose name ends in a slash.
  if (typeflag === "\0") return path.at(-1) === SLASH ? "directory" : "file"
  if (typeflag === "S") throw malformed(`${show(path)} is a GNU sparse file: pack the layer without --sparse`)
  const type = TYPES[typeflag]
  if (type === undefined) throw malformed(`${show(path)} is an entry of unknown type ${JSON.stringify(typeflag)}`)
  return type
}
