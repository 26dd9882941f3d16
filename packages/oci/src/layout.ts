import { createHash } from "node:crypto"
import { constants, type ReadStream } from "node:fs"
import { type FileHandle, lstat, open } from "node:fs/promises"
import { arch } from "node:os"
import { join } from "node:path"
import {
  type Descriptor,
  type Digest,
  digestOfHex,
  EvidenceError,
  hexOfDigest,
  type ImageConfig,
  type ImageManifest,
  indexMediaTypes,
  limits,
  manifestMediaTypes,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  parseStrictJson,
  platformOf,
} from "@envidence/core"
import type { LayerSource } from "./layer.js"

/** An index that the image was chosen from. */
export interface ImageChoice {
  readonly bytes: Uint8Array
  readonly digest: Digest
  /** `os/architecture[/variant]` of each image in it, as the index says; attestations are not images. */
  readonly platforms: readonly string[]
}

/** One image of an OCI layout (OCI image specification 1.1, "Image Layout"), its documents read and verified. */
export interface OciLayout {
  readonly directory: string
  readonly manifestDigest: Digest
  /** Exactly as stored, like `configBytes`. */
  readonly manifestBytes: Uint8Array
  readonly manifest: ImageManifest
  readonly configDigest: Digest
  readonly configBytes: Uint8Array
  readonly config: ImageConfig
  /** `os/architecture[/variant]`, by the config. */
  readonly platform: string
  readonly index: ImageChoice | null
  readonly layers: readonly LayerSource[]
}

export interface LayoutOptions {
  /** Which image to take from an index; that of this machine by default. */
  readonly platform?: string
}

/**
 * Opens a layout and verifies its documents by size and digest. Layers are there and of the right size; their digests
 * are verified when they are read. Symbolic links inside the layout are not followed.
 *
 * @throws EvidenceError input-not-found where there is no such folder, or no image for the platform; malformed-image;
 * digest-mismatch; input-unreadable
 */
export async function openOciLayout(directory: string, options: LayoutOptions = {}): Promise<OciLayout> {
  await checkFolders(directory)
  checkVersion(await readDocument(directory, "oci-layout"))
  const outer = await readDocument(directory, "index.json")
  const { descriptor, index } = await choose(directory, outer, options.platform ?? `linux/${machineArchitecture()}`)
  const manifestBytes = await readBlob(directory, descriptor, "the image manifest")
  const manifest = parseImageManifest(manifestBytes)
  const configBytes = await readBlob(directory, manifest.config, "the image config")
  const config = parseImageConfig(configBytes)
  return {
    directory,
    manifestDigest: descriptor.digest,
    manifestBytes,
    manifest,
    configDigest: manifest.config.digest,
    configBytes,
    config,
    platform: platformOf(config),
    index,
    layers: await findLayers(directory, manifest, config),
  }
}

/** A layer's stored bytes, in large chunks. @throws EvidenceError malformed-image, input-unreadable */
export async function openLayerBlob(layout: OciLayout, { descriptor, index }: LayerSource): Promise<ReadStream> {
  const handle = await openBlob(layout.directory, descriptor, `layer ${index}`)
  return handle.createReadStream({ highWaterMark: READ_BYTES })
}

const READ_BYTES = 1_048_576

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

interface Chosen {
  readonly descriptor: Descriptor
  readonly index: ImageChoice | null
}

async function choose(directory: string, outer: Buffer, platform: string): Promise<Chosen> {
  const { manifests } = parseImageIndex(outer)
  const [only] = manifests
  if (manifests.length !== 1 || only === undefined) return chooseFrom(outer, platform)
  if (manifestMediaTypes.includes(only.mediaType)) return { descriptor: only, index: null }
  if (!indexMediaTypes.includes(only.mediaType))
    throw malformed(`index.json names a ${JSON.stringify(only.mediaType)}, not an image`)
  return chooseFrom(await readBlob(directory, only, "the image index"), platform)
}

function chooseFrom(bytes: Buffer, platform: string): Chosen {
  const images = parseImageIndex(bytes).manifests.filter(isImage)
  const unnamed = images.filter(image => image.platform === undefined).map(image => image.digest)
  if (new Set(unnamed).size < unnamed.length) throw malformed("the index names one image twice, without a platform")
  const platforms = images.map(image => image.platform ?? "unknown")
  const fitting = images.filter(image => fits(image.platform, platform))
  // One image is no choice: it is judged even where this machine could not run it.
  const candidates = fitting.length === 0 && images.length === 1 ? images : fitting
  const [descriptor] = candidates
  if (descriptor === undefined)
    throw new EvidenceError("input-not-found", `no image for ${platform}, only for: ${platforms.join(", ") || "none"}`)
  if (candidates.length > 1) throw malformed(`the index names ${candidates.length} images for ${platform}`)
  return { descriptor, index: { bytes, digest: sha256(bytes), platforms } }
}

// BuildKit's attestations stand in the index as manifests for "unknown/unknown".
const isImage = ({ mediaType, platform, annotations }: Descriptor) =>
  manifestMediaTypes.includes(mediaType) &&
  platform !== "unknown/unknown" &&
  annotations["vnd.docker.reference.type"] === undefined

const fits = (platform: string | undefined, wanted: string) =>
  platform === wanted || platform?.startsWith(`${wanted}/`) === true

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" }

const machineArchitecture = () => ARCHITECTURES[arch()] ?? arch()

async function findLayers(directory: string, manifest: ImageManifest, config: ImageConfig): Promise<LayerSource[]> {
  if (manifest.layers.length !== config.diffIds.length)
    throw malformed(`the manifest has ${manifest.layers.length} layers, the config ${config.diffIds.length} diff_ids`)
  const layers: LayerSource[] = []
  for (const [index, descriptor] of manifest.layers.entries()) {
    const handle = await openBlob(directory, descriptor, `layer ${index}`)
    await handle.close()
    layers.push({ index, descriptor, diffId: config.diffIds[index] as Digest })
  }
  return layers
}

async function readDocument(directory: string, name: string): Promise<Buffer> {
  const handle = await openRegular(join(directory, name), name)
  try {
    return await readAll(handle, name)
  } finally {
    await handle.close()
  }
}

async function readBlob(directory: string, descriptor: Descriptor, what: string): Promise<Buffer> {
  const handle = await openBlob(directory, descriptor, what)
  try {
    const bytes = await readAll(handle, what)
    const digest = sha256(bytes)
    if (digest !== descriptor.digest)
      throw new EvidenceError("digest-mismatch", `${what} hashes to ${digest}, not to its name ${descriptor.digest}`)
    return bytes
  } finally {
    await handle.close()
  }
}

const sha256 = (bytes: Uint8Array): Digest => digestOfHex(createHash("sha256").update(bytes).digest("hex"))

// The parser admitted only 64 hexadecimal digits: a digest cannot climb out of the folder.
async function openBlob(directory: string, { digest, size }: Descriptor, what: string): Promise<FileHandle> {
  const handle = await openRegular(join(directory, "blobs", "sha256", hexOfDigest(digest)), `${what} (${digest})`)
  const found = (await handle.stat()).size
  if (found === size) return handle
  await handle.close()
  throw malformed(`${what} (${digest}) has ${found} bytes, its descriptor says ${size}`)
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
