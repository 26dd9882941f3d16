import { constants } from "node:fs"
import { type FileHandle, open } from "node:fs/promises"
import { posix } from "node:path"
import { Readable } from "node:stream"
import { EvidenceError, limits, TAR_BLOCK_BYTES } from "@envidence/core"
import { type TarEntry, type TarHandler, TarReader } from "./tar-reader.js"

/** Where a file's content lies in the archive. */
export interface FileInTar {
  readonly name: string
  readonly offset: number
  /** Bytes. */
  readonly size: number
}

type Found = FileInTar | { readonly linkTarget: string } | { readonly type: string }

// A layout holds a blob for each layer and a few documents; docker-archive adds three files for each layer.
const ARCHIVE_LIMITS = { entries: 4096, pathBytes: 1024, extensionBytes: 65_536, xattrBytes: 4096 }
// Writers fill the last record up with zeros; more than this is no filling.
const TRAILING_BYTES = 1_048_576
const WINDOW_BYTES = 65_536
const READ_BYTES = 1_048_576

/**
 * A tar archive of which only the headers are read: its files stay where they are and are streamed from there, so that
 * nothing is unpacked, whatever the archive's names and links say.
 */
export class TarFile {
  readonly #handle: FileHandle
  readonly #entries: ReadonlyMap<string, Found>
  readonly path: string
  #closing: Promise<void> | undefined

  private constructor(path: string, handle: FileHandle, entries: ReadonlyMap<string, Found>) {
    this.path = path
    this.#handle = handle
    this.#entries = entries
  }

  /** @throws EvidenceError input-not-found, input-unreadable, malformed-image, limit-exceeded */
  static async open(path: string): Promise<TarFile> {
    // O_NONBLOCK: a pipe in its place would keep us waiting for a writer. The file itself may be reached by a link.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(cause => {
      const missing = cause.code === "ENOENT" || cause.code === "ENOTDIR"
      throw new EvidenceError(missing ? "input-not-found" : "input-unreadable", `cannot open ${path}: ${cause.code}`, {
        cause,
      })
    })
    return TarFile.from(path, handle)
  }

  /** Takes the handle over: it is closed with this, or here where the archive is refused. `path` is for messages. */
  static async from(path: string, handle: FileHandle): Promise<TarFile> {
    try {
      return new TarFile(path, handle, await readHeaders(path, handle))
    } catch (error) {
      await handle.close()
      throw inArchive(path, error)
    }
  }

  /** @throws EvidenceError malformed-image where it is missing or no file */
  file(name: string): FileInTar {
    const found = this.#entries.get(name)
    if (found === undefined) throw malformed(`${this.path} holds no ${shown(name)}`)
    if ("linkTarget" in found) throw malformed(`${shown(name)} in ${this.path} is a link`)
    if (!("offset" in found)) throw malformed(`${shown(name)} in ${this.path} is a ${found.type}, not a file`)
    return found
  }

  /** The same, where one link to another name of this archive may stand in its place. */
  fileOrLinked(name: string): FileInTar {
    const found = this.#entries.get(name)
    if (found === undefined || !("linkTarget" in found)) return this.file(name)
    return this.file(posix.normalize(posix.join(posix.dirname(name), found.linkTarget)))
  }

  /** A small file, whole. @throws EvidenceError malformed-image, input-unreadable */
  async read({ name, offset, size }: FileInTar, maxBytes: number = limits.documentBytes): Promise<Buffer> {
    if (size > maxBytes) throw malformed(`${shown(name)} in ${this.path} is larger than ${maxBytes} bytes`)
    return readFully(this.#handle, offset, size, this.path)
  }

  /** A file's first bytes. */
  async head({ offset, size }: FileInTar, bytes: number): Promise<Buffer> {
    return readFully(this.#handle, offset, Math.min(size, bytes), this.path)
  }

  stream({ offset, size }: FileInTar): Readable {
    if (size === 0) return Readable.from([])
    const end = offset + size - 1
    return this.#handle.createReadStream({ start: offset, end, autoClose: false, highWaterMark: READ_BYTES })
  }

  close(): Promise<void> {
    this.#closing ??= this.#handle.close()
    return this.#closing
  }
}

const malformed = (why: string) => new EvidenceError("malformed-image", why)

const shown = (name: string) => JSON.stringify(name.slice(0, 128))

async function readHeaders(path: string, handle: FileHandle): Promise<ReadonlyMap<string, Found>> {
  const stat = await handle.stat()
  if (!stat.isFile()) throw malformed("it is not a file")
  await demandPlain(handle, stat.size)
  const names = new Names()
  const reader = new TarReader(names, ARCHIVE_LIMITS)
  names.reader = reader
  let zeros = 0
  for (const window = new Window(handle, stat.size, path); reader.offset < stat.size; ) {
    const block = await window.block(reader.offset)
    zeros = block.every(byte => byte === 0) ? zeros + block.length : 0
    if (zeros > TRAILING_BYTES) throw malformed("zeros without end")
    reader.write(block)
    reader.skipContent()
  }
  reader.end()
  return names.found
}

const COMPRESSED: readonly [string, string][] = [
  ["1f8b", "gzip"],
  ["28b52ffd", "zstd"],
  ["425a68", "bzip2"],
  ["fd377a58", "xz"],
]

// Only an uncompressed archive can be read in place.
async function demandPlain(handle: FileHandle, size: number): Promise<void> {
  const magic = (await readFully(handle, 0, Math.min(size, 4), "")).toString("hex")
  const kind = COMPRESSED.find(([start]) => magic.startsWith(start))?.[1]
  if (kind === undefined) return
  throw new EvidenceError("malformed-image", `it is compressed with ${kind}`, {
    hint: `Uncompress it first: its layers may be compressed, the archive may not.`,
  })
}

/** Blocks of the file by their offset, read in larger pieces. */
class Window {
  readonly #handle: FileHandle
  readonly #size: number
  readonly #path: string
  #start = 0
  #bytes: Buffer = Buffer.alloc(0)

  constructor(handle: FileHandle, size: number, path: string) {
    this.#handle = handle
    this.#size = size
    this.#path = path
  }

  async block(offset: number): Promise<Buffer> {
    const wanted = Math.min(TAR_BLOCK_BYTES, this.#size - offset)
    if (offset < this.#start || offset + wanted > this.#start + this.#bytes.length) {
      this.#start = offset
      this.#bytes = await readFully(this.#handle, offset, Math.min(WINDOW_BYTES, this.#size - offset), this.#path)
    }
    return this.#bytes.subarray(offset - this.#start, offset - this.#start + wanted)
  }
}

async function readFully(handle: FileHandle, offset: number, size: number, path: string): Promise<Buffer> {
  const bytes = Buffer.alloc(size)
  for (let filled = 0; filled < size; ) {
    const { bytesRead } = await handle.read(bytes, filled, size - filled, offset + filled)
    if (bytesRead === 0) throw new EvidenceError("input-unreadable", `${path} changed while it was read`)
    filled += bytesRead
  }
  return bytes
}

class Names implements TarHandler {
  readonly found = new Map<string, Found>()
  reader: TarReader | undefined

  entry({ type, path, linkTarget, size }: TarEntry): void {
    const name = path.toString("latin1").replace(/^(\.\/)+/, "")
    if (type === "directory") return
    // Of two, some readers take the first and some the last.
    if (this.found.has(name)) throw malformed(`${shown(name)} is there twice`)
    if (type === "file") this.found.set(name, { name, offset: this.#next(), size })
    else if (type === "symlink") this.found.set(name, { linkTarget: linkTarget.toString("latin1") })
    else this.found.set(name, { type })
  }

  content(): void {}
  endOfFile(): void {}

  // The header's block is counted once it has been handled.
  #next(): number {
    return (this.reader?.offset ?? 0) + TAR_BLOCK_BYTES
  }
}

function inArchive(path: string, cause: unknown): unknown {
  if (!(cause instanceof EvidenceError) || cause.code === "input-unreadable") return cause
  const code = cause.code === "malformed-archive" ? "malformed-image" : cause.code
  return new EvidenceError(code, `${path}: ${cause.message}`, {
    cause,
    ...(cause.hint === undefined ? {} : { hint: cause.hint }),
  })
}
