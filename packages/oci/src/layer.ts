import { isUtf8 } from "node:buffer"
import { createHash, hash } from "node:crypto"
import { type Readable, Writable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from "node:zlib"
import {
  type Descriptor,
  type Digest,
  digestOfHex,
  EvidenceError,
  type InventoryEntry,
  layerCompression,
  limits,
  pathInRoot,
} from "@envidence/core"
import { CONTENT_HEAD_BYTES, contentKind } from "./content-kind.js"
import { type EmbeddedPackages, ExecutableReader, mayBeExecutable, Scratch } from "./sbom/executable.js"
import { type TarEntry, type TarHandler, type TarLimits, TarReader } from "./tar-reader.js"
import { splitZstdFrames } from "./zstd-frames.js"

/** What an image names of one layer. */
export interface LayerSource {
  /** 0 is the base. */
  readonly index: number
  readonly descriptor: Descriptor
  readonly diffId: Digest
}

export interface LayerLimits extends TarLimits {
  /** Bytes of the uncompressed archive. */
  readonly unpackedBytes: number
  /** How many times its stored size a layer may expand to, once it is beyond `expansionFloorBytes`. */
  readonly expansion: number
  readonly expansionFloorBytes: number
  /** Bytes of all wanted files together. */
  readonly wantedBytes: number
}

/** Bounds on a stranger's layer. A pax header is bounded as Go's reader bounds it; a path as Linux does (PATH_MAX). */
export const layerLimits: LayerLimits = {
  entries: limits.inventoryEntries,
  pathBytes: 4096,
  extensionBytes: 1_048_576,
  xattrBytes: 49_152,
  unpackedBytes: 64 * 1024 ** 3,
  expansion: 200,
  expansionFloorBytes: 256 * 1024 ** 2,
  wantedBytes: 256 * 1024 ** 2,
}

/** How many bytes to keep of the file at this path in the root file system; 0 for none. */
export type WantedBytes = (pathInRoot: string) => number

export interface LayerInventory {
  readonly digest: Digest
  readonly diffId: Digest
  /** In archive order. */
  readonly entries: readonly InventoryEntry[]
  /** Content of wanted files by the index of their entry; null for one that is larger than was asked for. */
  readonly wanted: ReadonlyMap<number, Buffer | null>
  /** What programs carry of the packages they are made of, by the index of their entry; empty unless asked for. */
  readonly embedded: ReadonlyMap<number, EmbeddedPackages>
  readonly unpackedBytes: number
}

export interface LayerOptions {
  readonly wants?: WantedBytes
  /** Whether to look into programs for the packages they are made of; default: no. */
  readonly programs?: boolean
  readonly limits?: Partial<LayerLimits>
  readonly signal?: AbortSignal
}

const CHUNK_BYTES = 1_048_576

/**
 * Reads a layer once, from its stored bytes, and learns everything from that pass: both digests, the inventory and the
 * wanted files. Memory does not grow with the layer, but for the inventory itself.
 *
 * @throws EvidenceError malformed-image, limit-exceeded, digest-mismatch; input-unreadable where reading fails;
 * interrupted by the signal
 */
export async function readLayer(
  blob: Readable,
  source: LayerSource,
  options: LayerOptions = {},
): Promise<LayerInventory> {
  const pass = new LayerPass(source, options)
  try {
    await pass.run(blob, options.signal)
    return pass.finish()
  } catch (cause) {
    blob.destroy()
    throw inLayer(source, cause)
  }
}

class LayerPass implements TarHandler {
  readonly #source: LayerSource
  readonly #limits: LayerLimits
  readonly #wants: WantedBytes
  readonly #stored = createHash("sha256")
  readonly #unpacked = createHash("sha256")
  #storedBytes = 0
  #unpackedBytes = 0
  readonly #reader: TarReader
  readonly #entries: InventoryEntry[] = []
  readonly #wanted = new Map<number, Buffer | null>()
  #wantedBytes = 0
  /** Absent where programs are not looked into. */
  readonly #scratch: Scratch | undefined
  readonly #embedded = new Map<number, EmbeddedPackages>()
  #file: FileInLayer | undefined

  constructor(source: LayerSource, options: LayerOptions) {
    this.#source = source
    this.#limits = { ...layerLimits, ...options.limits }
    this.#wants = options.wants ?? (() => 0)
    this.#scratch = options.programs === true ? new Scratch() : undefined
    this.#reader = new TarReader(this, this.#limits)
  }

  async run(blob: Readable, signal: AbortSignal | undefined): Promise<void> {
    const compression = layerCompression(this.#source.descriptor.mediaType)
    const sink = this.#sink()
    const options = signal === undefined ? {} : { signal }
    const stored = (source: AsyncIterable<Buffer>) => this.#hashStored(source)
    if (compression === "none") return await pipeline(blob, stored, sink, options)
    const decoder = compression === "gzip" ? createGunzip({ chunkSize: CHUNK_BYTES }) : zstdDecoder()
    if (compression === "gzip") await pipeline(blob, stored, decoder, sink, options)
    else await pipeline(blob, stored, splitZstdFrames, decoder, sink, options)
    if (compression === "gzip") this.#checkConsumed(decoder)
  }

  finish(): LayerInventory {
    this.#reader.end()
    const { descriptor, diffId } = this.#source
    if (this.#storedBytes !== descriptor.size)
      throw mismatch(`the blob has ${this.#storedBytes} bytes, its descriptor says ${descriptor.size}`)
    const digest = digestOfHex(this.#stored.digest("hex"))
    if (digest !== descriptor.digest) throw mismatch(`the blob hashes to ${digest}`)
    const unpacked = digestOfHex(this.#unpacked.digest("hex"))
    if (unpacked !== diffId) throw mismatch(`the archive hashes to ${unpacked}, the config's diff_id is ${diffId}`)
    return {
      digest,
      diffId,
      entries: this.#entries,
      wanted: this.#wanted,
      embedded: this.#embedded,
      unpackedBytes: this.#unpackedBytes,
    }
  }

  async *#hashStored(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const { size } = this.#source.descriptor
    for await (const chunk of source) {
      this.#storedBytes += chunk.length
      if (this.#storedBytes > size) throw mismatch(`the blob is larger than the ${size} bytes of its descriptor`)
      this.#stored.update(chunk)
      yield chunk
    }
  }

  // Zlib ends at zeros after the last member, which would be bytes that nobody looked at.
  #checkConsumed({ bytesWritten }: Gunzip | ZstdDecompress): void {
    if (bytesWritten !== this.#storedBytes) throw malformed("bytes follow the end of the compressed data")
  }

  #sink(): Writable {
    return new Writable({
      highWaterMark: 4 * CHUNK_BYTES,
      write: (chunk: Buffer, _encoding, done) => {
        // Later, so that zlib starts on its next chunk in the thread pool before this thread hashes the current one.
        setImmediate(() => {
          try {
            this.#consume(chunk)
            done()
          } catch (error) {
            done(error as Error)
          }
        })
      },
    })
  }

  #consume(chunk: Buffer): void {
    this.#unpackedBytes += chunk.length
    this.#checkExpansion()
    this.#unpacked.update(chunk)
    try {
      this.#reader.write(chunk)
    } catch (cause) {
      throw atOffset(this.#reader.offset, cause)
    }
  }

  #checkExpansion(): void {
    const { unpackedBytes, expansion, expansionFloorBytes } = this.#limits
    if (this.#unpackedBytes > unpackedBytes) throw exceeded(`expands beyond ${unpackedBytes} bytes`)
    if (this.#unpackedBytes > Math.max(expansionFloorBytes, expansion * this.#source.descriptor.size))
      throw exceeded(`expands to more than ${expansion} times its size`)
  }

  entry(entry: TarEntry): void {
    const inventory = inventoryEntry(entry)
    this.#entries.push(inventory)
    if (entry.type !== "file") return
    const keep = this.#wants(pathInRoot(inventory))
    this.#file = new FileInLayer(entry.size, this.#admit(keep, entry.size), this.#scratch)
  }

  /** Whether to keep a file's content: its size is known before, so memory is never spent on one that is too large. */
  #admit(keep: number, size: number): boolean {
    if (keep === 0) return false
    const admitted = size <= keep && this.#wantedBytes + size <= this.#limits.wantedBytes
    if (admitted) this.#wantedBytes += size
    else this.#wanted.set(this.#entries.length - 1, null)
    return admitted
  }

  content(piece: Buffer): void {
    this.#file?.add(piece)
  }

  endOfFile(): void {
    const file = this.#file
    const index = this.#entries.length - 1
    const entry = this.#entries[index]
    if (file === undefined || entry === undefined) return
    this.#file = undefined
    this.#entries[index] = Object.assign(entry, file.finish())
    if (file.kept !== undefined) this.#wanted.set(index, file.kept)
    const embedded = file.program?.finish()
    if (embedded !== undefined) this.#keepEmbedded(index, embedded)
  }

  #keepEmbedded(index: number, embedded: EmbeddedPackages): void {
    const bytes = (embedded.goBuildInfo?.length ?? 0) + (embedded.cargoAuditable?.length ?? 0)
    const admitted = this.#wantedBytes + bytes <= this.#limits.wantedBytes
    if (admitted) this.#wantedBytes += bytes
    this.#embedded.set(index, admitted ? embedded : { because: "too much was found in this layer's files before it" })
  }
}

// Zstandard frames are cut and counted by splitZstdFrames.
const zstdDecoder = () => createZstdDecompress({ chunkSize: CHUNK_BYTES })

const EMPTY = Buffer.alloc(0)

/** The hash, the first bytes and perhaps the content of one file, from pieces. */
class FileInLayer {
  readonly #size: number
  readonly kept: Buffer | undefined
  #hash: ReturnType<typeof createHash> | undefined
  #sha256 = ""
  #head = EMPTY
  #kind: ReturnType<typeof contentKind> = "empty"
  #seen = 0
  readonly #scratch: Scratch | undefined
  program: ExecutableReader | undefined

  constructor(size: number, keep: boolean, scratch: Scratch | undefined) {
    this.#size = size
    this.#scratch = scratch
    this.kept = keep ? Buffer.allocUnsafeSlow(size) : undefined
    if (size === 0) this.#sha256 = hash("sha256", EMPTY, "hex")
  }

  add(piece: Buffer): void {
    if (this.kept !== undefined) piece.copy(this.kept, this.#seen)
    if (this.#seen === 0 && this.#scratch !== undefined && mayBeExecutable(this.#size, piece[0]))
      this.program = new ExecutableReader(this.#size, this.#scratch)
    this.program?.add(piece)
    if (piece.length === this.#size) {
      // Most files lie in one piece: no hash object, no copy of the head.
      this.#sha256 = hash("sha256", piece, "hex")
      this.#kind = contentKind(piece.subarray(0, CONTENT_HEAD_BYTES))
    } else {
      this.#hash ??= createHash("sha256")
      this.#hash.update(piece)
      if (this.#seen < CONTENT_HEAD_BYTES) this.#addToHead(piece)
    }
    this.#seen += piece.length
  }

  #addToHead(piece: Buffer): void {
    this.#head = Buffer.concat([this.#head, piece.subarray(0, CONTENT_HEAD_BYTES - this.#seen)])
  }

  finish(): { sha256: string; content: ReturnType<typeof contentKind> } {
    if (this.#hash === undefined) return { sha256: this.#sha256, content: this.#kind }
    return { sha256: this.#hash.digest("hex"), content: contentKind(this.#head) }
  }
}

type Draft = { -readonly [K in keyof InventoryEntry]: InventoryEntry[K] }

function inventoryEntry(entry: TarEntry): InventoryEntry {
  const { type, path, size, mode, uid, gid, mtime } = entry
  const draft: Draft = { type, size, mode, uid, gid, mtime }
  if (isUtf8(path)) draft.path = path.toString()
  else draft.pathBase64 = path.toString("base64")
  if (entry.userName.length > 0) setOwner(draft, "uname", entry.userName)
  if (entry.groupName.length > 0) setOwner(draft, "gname", entry.groupName)
  if (type === "symlink" || type === "hardlink") setLink(draft, entry.linkTarget)
  if (type === "char-device" || type === "block-device")
    draft.device = { major: entry.deviceMajor, minor: entry.deviceMinor }
  if (entry.xattrs.size > 0)
    draft.xattrs = Object.fromEntries(Array.from(entry.xattrs, ([name, value]) => [name, value.toString("base64")]))
  return draft
}

const OWNER_NAME_BYTES = 256

// Names are a hint beside the numbers, which count: one that is not text is left out.
function setOwner(draft: Draft, field: "uname" | "gname", name: Buffer): void {
  if (name.length > OWNER_NAME_BYTES) throw exceeded(`a ${field} of ${name.length} bytes`)
  if (isUtf8(name)) draft[field] = name.toString()
}

function setLink(draft: Draft, target: Buffer): void {
  if (isUtf8(target)) draft.linkTarget = target.toString()
  else draft.linkTargetBase64 = target.toString("base64")
}

const malformed = (why: string) => new EvidenceError("malformed-image", why)
const exceeded = (why: string) => new EvidenceError("limit-exceeded", why)
const mismatch = (why: string) => new EvidenceError("digest-mismatch", why)

function atOffset(offset: number, cause: unknown): unknown {
  if (!(cause instanceof EvidenceError)) return cause
  return new EvidenceError(cause.code, `${cause.message} (near byte ${offset} of the archive)`, { cause })
}

function inLayer({ index, descriptor }: LayerSource, cause: unknown): EvidenceError {
  const where = `layer ${index} (${descriptor.digest})`
  if (cause instanceof EvidenceError) {
    // In an image, a malformed archive is a malformed image.
    const code = cause.code === "malformed-archive" ? "malformed-image" : cause.code
    return new EvidenceError(code, `${where}: ${cause.message}`, {
      cause,
      ...(cause.hint === undefined ? {} : { hint: cause.hint }),
    })
  }
  const { name, code = "", message } = cause as NodeJS.ErrnoException
  if (name === "AbortError") return new EvidenceError("interrupted", `${where}: interrupted`, { cause })
  if (/^(Z_|ZSTD_|ERR_STREAM|ERR__|ERR_ZSTD|ERR_ZLIB)/.test(code))
    return new EvidenceError("malformed-image", `${where}: the compressed data is broken (${message})`, { cause })
  if (typeof (cause as NodeJS.ErrnoException).syscall === "string")
    return new EvidenceError("input-unreadable", `${where}: ${message}`, { cause })
  return new EvidenceError("internal", `${where}: ${message}`, { cause })
}
