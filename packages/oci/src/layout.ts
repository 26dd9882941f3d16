import { constants } from "node:fs"
import { type FileHandle, lstat, open } from "node:fs/promises"
import { join } from "node:path"
import type { Readable } from "node:stream"
import {
  type Descriptor,
  EvidenceError,
  hexOfDigest,
  type ImageIndex,
  limits,
  parseImageIndex,
  parseStrictJson,
} from "@envidence/core"
import {
  assembleImage,
  type BlobSource,
  type ChoiceOptions,
  type ChosenManifest,
  chooseBehind,
  chooseFrom,
  demandDigest,
  type OpenedImage,
} from "./opened-image.js"

/** An image of an OCI layout in a folder. */
export interface OciLayout extends OpenedImage {
  readonly directory: string
}

export interface LayoutOptions extends ChoiceOptions {
  /** Which image of several: by its `org.opencontainers.image.ref.name`, or by the digest of its manifest or index. */
  readonly selector?: LayoutSelector
}

export type LayoutSelector = { readonly name: string } | { readonly digest: string }

/**
 * Opens an OCI layout (OCI image specification 1.1, "Image Layout") and verifies its documents by size and digest.
 * Layers are there and of the right size; their digests are verified when they are read. Symbolic links inside the
 * layout are not followed.
 *
 * @throws EvidenceError input-not-found where there is no such folder, or no image for the platform; malformed-image;
 * digest-mismatch; input-unreadable
 */
export async function openOciLayout(directory: string, options: LayoutOptions = {}): Promise<OciLayout> {
  await checkFolders(directory)
  const files: LayoutFiles = {
    read: async name => readDocument(directory, name),
    blobs: new FolderBlobs(directory),
  }
  return { ...(await openLayout(files, options)), directory }
}

/** The files of a layout, wherever they lie. */
export interface LayoutFiles {
  /** `oci-layout` or `index.json`, whole and bounded. */
  read(name: string): Promise<Buffer>
  readonly blobs: BlobSource
}

/** @throws EvidenceError as `openOciLayout` does */
export async function openLayout(files: LayoutFiles, options: LayoutOptions): Promise<OpenedImage> {
  checkVersion(await files.read("oci-layout"))
  return assembleImage(files.blobs, await choose(files, options))
}

async function choose({ read, blobs }: LayoutFiles, options: LayoutOptions): Promise<ChosenManifest> {
  const outer = await read("index.json")
  const index = parseImageIndex(outer)
  if (options.selector !== undefined) return chooseBehind(select(index, options.selector), blobs, options)
  const [only] = index.manifests
  return index.manifests.length === 1 && only !== undefined
    ? chooseBehind(only, blobs, options)
    : chooseFrom(outer, options)
}

function select({ manifests }: ImageIndex, selector: LayoutSelector): Descriptor {
  const name = "name" in selector ? selector.name : selector.digest
  const named = manifests.filter(descriptor =>
    "name" in selector
      ? descriptor.annotations["org.opencontainers.image.ref.name"] === name
      : descriptor.digest === name,
  )
  const [only] = named
  if (only === undefined) throw new EvidenceError("input-not-found", `index.json names no image ${name}`)
  if (new Set(named.map(({ digest }) => digest)).size > 1) throw malformed(`index.json names ${name} twice`)
  return only
}

function checkVersion(bytes: Uint8Array): void {
  const document = parseJson(bytes, "oci-layout") as { imageLayoutVersion?: unknown } | null
  if (document?.imageLayoutVersion !== "1.0.0") throw malformed("oci-layout is not of version 1.0.0")
}

function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return parseStrictJson(bytes, what)
  } catch (cause) {
    throw malformed((cause as Error).message, cause)
  }
}

const READ_BYTES = 1_048_576

class FolderBlobs implements BlobSource {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async read(descriptor: Descriptor, what: string): Promise<Buffer> {
    const handle = await this.#open(descriptor, what)
    try {
      const bytes = await readAll(handle, what)
      demandDigest(bytes, descriptor, what)
      return bytes
    } finally {
      await handle.close()
    }
  }

  async open(descriptor: Descriptor, what: string): Promise<Readable> {
    const handle = await this.#open(descriptor, what)
    return handle.createReadStream({ highWaterMark: READ_BYTES })
  }

  async check(descriptor: Descriptor, what: string): Promise<void> {
    const handle = await this.#open(descriptor, what)
    await handle.close()
  }

  async close(): Promise<void> {}

  // The parser admitted only 64 hexadecimal digits: a digest cannot climb out of the folder.
  async #open({ digest, size }: Descriptor, what: string): Promise<FileHandle> {
    const handle = await openRegular(
      join(this.#directory, "blobs", "sha256", hexOfDigest(digest)),
      `${what} (${digest})`,
    )
    const found = (await handle.stat()).size
    if (found === size) return handle
    await handle.close()
    throw malformed(`${what} (${digest}) has ${found} bytes, its descriptor says ${size}`)
  }
}

const malformed = (why: string, cause?: unknown) => new EvidenceError("malformed-image", why, { cause })

async function checkFolders(directory: string): Promise<void> {
  const top = await lstat(directory).catch(cause => {
    if (isMissing(cause)) throw new EvidenceError("input-not-found", `no such folder: ${directory}`, { cause })
    throw unreadable(directory, cause)
  })
  // The layout itself may be reached by a link, which is the caller's; nothing inside may be one.
  if (!top.isDirectory() && !top.isSymbolicLink()) throw malformed(`${directory} is not a folder, so not an OCI layout`)
  for (const inside of ["blobs", "blobs/sha256"]) {
    const folder = await lstat(join(directory, inside)).catch(cause => {
      throw isMissing(cause) ? malformed(`${directory} is not an OCI layout: it has no ${inside}`, cause) : cause
    })
    if (!folder.isDirectory()) throw malformed(`${inside} in ${directory} is not a folder`)
  }
}

async function readDocument(directory: string, name: string): Promise<Buffer> {
  const handle = await openRegular(join(directory, name), name)
  try {
    return await readAll(handle, name)
  } finally {
    await handle.close()
  }
}

// O_NONBLOCK: a pipe in a file's place would otherwise keep us waiting for a writer.
const SAFE_READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

async function openRegular(path: string, what: string): Promise<FileHandle> {
  const handle = await open(path, SAFE_READ).catch(cause => {
    if (isMissing(cause)) throw malformed(`${what} is missing`, cause)
    if (cause.code === "ELOOP") throw malformed(`${what} is a symbolic link`, cause)
    throw unreadable(path, cause)
  })
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw malformed(`${what} is not a regular file`)
}

async function readAll(handle: FileHandle, what: string): Promise<Buffer> {
  const { size } = await handle.stat()
  if (size > limits.documentBytes) throw malformed(`${what} is larger than ${limits.documentBytes} bytes`)
  const bytes = Buffer.alloc(size)
  const { bytesRead } = await handle.read(bytes, 0, size, 0)
  if (bytesRead !== size) throw new EvidenceError("input-unreadable", `${what} changed while it was read`)
  return bytes
}

const isMissing = (cause: NodeJS.ErrnoException) => cause.code === "ENOENT" || cause.code === "ENOTDIR"

const unreadable = (path: string, cause: Error) =>
  new EvidenceError("input-unreadable", `cannot read ${path}: ${cause.message}`, { cause })
