import { createHash } from "node:crypto"
import { arch } from "node:os"
import type { Readable } from "node:stream"
import {
  type Descriptor,
  type Digest,
  digestOfHex,
  EvidenceError,
  type ImageConfig,
  type ImageManifest,
  indexMediaTypes,
  manifestMediaTypes,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
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

/** One image, from whatever source: its documents read and verified, its layers to be streamed. */
export interface OpenedImage {
  readonly manifestDigest: Digest
  /** Exactly as stored, like `configBytes`. */
  readonly manifestBytes: Uint8Array
  readonly manifest: ImageManifest
  /**
   * `made` where the source keeps no manifest (docker-archive, an engine's export) and one was written here for its
   * config and layers: such an image is known by its config's digest, never by its manifest's.
   */
  readonly manifestOrigin: "stored" | "made"
  readonly configDigest: Digest
  readonly configBytes: Uint8Array
  readonly config: ImageConfig
  /** `os/architecture[/variant]`, by the config. */
  readonly platform: string
  readonly index: ImageChoice | null
  readonly layers: readonly LayerSource[]
  readonly blobs: BlobSource
}

/** Where an image's blobs lie. */
export interface BlobSource {
  /**
   * A small blob, whole; its size and digest are verified. `what` names it in messages.
   *
   * @throws EvidenceError malformed-image, digest-mismatch, or as the source fails
   */
  read(descriptor: Descriptor, what: string): Promise<Buffer>
  /** A blob's bytes as stored. Whoever reads them verifies size and digest, as `readLayer` and `writeOciLayout` do. */
  open(descriptor: Descriptor, what: string): Promise<Readable>
  /** Whether it is there and of the right size, where that can be told without reading it. */
  check(descriptor: Descriptor, what: string): Promise<void>
  /** Gives back what the source holds open. Does nothing the second time. */
  close(): Promise<void>
}

export interface ChoiceOptions {
  /** Which image to take from an index: the first of these for which there is one. That of this machine by default. */
  readonly platforms?: readonly string[]
}

/** What names an image, with the index that it was chosen from. */
export interface ChosenManifest {
  readonly descriptor: Descriptor
  readonly index: ImageChoice | null
}

/**
 * Reads and verifies the documents of the image that `chosen` names.
 *
 * @throws EvidenceError malformed-image, digest-mismatch, or as the source fails
 */
export async function assembleImage(blobs: BlobSource, chosen: ChosenManifest): Promise<OpenedImage> {
  const manifestBytes = await blobs.read(chosen.descriptor, "the image manifest")
  const manifest = parseImageManifest(manifestBytes)
  const configBytes = await blobs.read(manifest.config, "the image config")
  const config = parseImageConfig(configBytes)
  const layers = layersOf(manifest, config)
  for (const { descriptor, index } of layers) await blobs.check(descriptor, `layer ${index}`)
  return {
    manifestDigest: chosen.descriptor.digest,
    manifestBytes,
    manifest,
    manifestOrigin: "stored",
    configDigest: manifest.config.digest,
    configBytes,
    config,
    platform: platformOf(config),
    index: chosen.index,
    layers,
    blobs,
  }
}

/** A layer's stored bytes, in large chunks. @throws EvidenceError malformed-image, or as the source fails */
export const openLayerBlob = ({ blobs }: OpenedImage, { descriptor, index }: LayerSource): Promise<Readable> =>
  blobs.open(descriptor, `layer ${index}`)

/** Each layer of the manifest with the config's diffID. @throws EvidenceError malformed-image */
export function layersOf(manifest: ImageManifest, config: ImageConfig): LayerSource[] {
  if (manifest.layers.length !== config.diffIds.length)
    throw malformed(`the manifest has ${manifest.layers.length} layers, the config ${config.diffIds.length} diff_ids`)
  return manifest.layers.map((descriptor, index) => ({ index, descriptor, diffId: config.diffIds[index] as Digest }))
}

/** What a descriptor names: a manifest, or an index of which one is chosen. @throws EvidenceError malformed-image */
export async function chooseBehind(
  descriptor: Descriptor,
  blobs: BlobSource,
  options: ChoiceOptions,
): Promise<ChosenManifest> {
  if (manifestMediaTypes.includes(descriptor.mediaType)) return { descriptor, index: null }
  if (!indexMediaTypes.includes(descriptor.mediaType))
    throw malformed(`the index names a ${JSON.stringify(descriptor.mediaType.slice(0, 128))}, not an image`)
  return chooseFrom(await blobs.read(descriptor, "the image index"), options)
}

/** @throws EvidenceError input-not-found where there is no image for the platforms; malformed-image for two of one */
export function chooseFrom(bytes: Buffer, { platforms = [machinePlatform()] }: ChoiceOptions): ChosenManifest {
  const images = parseImageIndex(bytes).manifests.filter(isImage)
  const unnamed = images.filter(image => image.platform === undefined).map(image => image.digest)
  if (new Set(unnamed).size < unnamed.length) throw malformed("the index names one image twice, without a platform")
  const offered = images.map(image => image.platform ?? "unknown")
  const wanted = platforms.find(platform => images.some(image => fits(image.platform, platform)))
  const fitting = wanted === undefined ? [] : images.filter(image => fits(image.platform, wanted))
  // One image is no choice: it is judged even where this machine could not run it.
  const candidates = fitting.length === 0 && images.length === 1 ? images : fitting
  const [descriptor] = candidates
  if (descriptor === undefined)
    throw new EvidenceError(
      "input-not-found",
      `no image for ${platforms.join(" or ")}, only for: ${offered.join(", ") || "none"}`,
    )
  if (candidates.length > 1) throw malformed(`the index names ${candidates.length} images for ${wanted}`)
  return { descriptor, index: { bytes, digest: sha256(bytes), platforms: offered } }
}

// BuildKit's attestations stand in the index as manifests for "unknown/unknown".
const isImage = ({ mediaType, platform, annotations }: Descriptor) =>
  manifestMediaTypes.includes(mediaType) &&
  platform !== "unknown/unknown" &&
  annotations["vnd.docker.reference.type"] === undefined

const fits = (platform: string | undefined, wanted: string) =>
  platform === wanted || platform?.startsWith(`${wanted}/`) === true

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" }

/** `linux/` and this machine's architecture: images for Linux run on every machine that runs images. */
export const machinePlatform = (): string => `linux/${ARCHITECTURES[arch()] ?? arch()}`

export const sha256 = (bytes: Uint8Array): Digest => digestOfHex(createHash("sha256").update(bytes).digest("hex"))

/** @throws EvidenceError digest-mismatch */
export function demandDigest(bytes: Uint8Array, { digest }: Descriptor, what: string): void {
  const found = sha256(bytes)
  if (found !== digest)
    throw new EvidenceError("digest-mismatch", `${what} hashes to ${found}, not to its name ${digest}`)
}

const malformed = (why: string) => new EvidenceError("malformed-image", why)
