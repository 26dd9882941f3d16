import { type Digest, isDigest, sha256Digest } from "../digest.js"
import { EvidenceError } from "../errors.js"
import { parseStrictJson } from "../json.js"
import { limits } from "../limits.js"
import type { ImageLayer, ImageView, InventoryEntry } from "./view.js"

/** OCI image specification 1.1, "Descriptor": what names a blob by digest, size and type. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  /** Bytes of the blob. */
  readonly size: number
  /** `os/architecture[/variant]`, in an index. */
  readonly platform?: string
  readonly annotations: Readonly<Record<string, string>>
}

export interface ImageManifest {
  readonly mediaType: string
  readonly config: Descriptor
  /** From the base up. */
  readonly layers: readonly Descriptor[]
}

export interface ImageIndex {
  readonly mediaType: string
  readonly manifests: readonly Descriptor[]
}

export interface HistoryEntry {
  readonly createdBy: string
  readonly emptyLayer: boolean
}

/** OCI image specification 1.1, "Image Configuration", less what no criterion reads. */
export interface ImageConfig {
  readonly os: string
  readonly architecture: string
  readonly variant: string | null
  /** RFC 3339, as written. */
  readonly created: string | null
  readonly config: ImageView["config"]
  readonly diffIds: readonly Digest[]
  readonly history: readonly HistoryEntry[]
}

export const manifestMediaTypes: readonly string[] = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
]

export const indexMediaTypes: readonly string[] = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
]

const CONFIG_MEDIA_TYPES: readonly string[] = [
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
]

/** How a layer's blob is compressed. */
export type LayerCompression = "none" | "gzip" | "zstd"

const LAYER_COMPRESSION: Readonly<Record<string, LayerCompression>> = {
  "application/vnd.oci.image.layer.v1.tar": "none",
  "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
  "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
  "application/vnd.docker.image.rootfs.diff.tar": "none",
  "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
  "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}

/** @throws EvidenceError malformed-image for types that are not layers of a root file system. */
export function layerCompression(mediaType: string): LayerCompression {
  const compression = Object.hasOwn(LAYER_COMPRESSION, mediaType) ? LAYER_COMPRESSION[mediaType] : undefined
  if (compression !== undefined) return compression
  throw malformed(`a layer of type ${quote(mediaType)} cannot be read`, {
    hint: "Export the image with plain, gzip or zstd layers that the image itself contains.",
  })
}

/** @throws EvidenceError malformed-image */
export function parseImageManifest(bytes: Uint8Array): ImageManifest {
  const document = parseDocument(bytes, "the image manifest")
  const mediaType = ownMediaType(document, manifestMediaTypes, "the image manifest")
  // A document that is both would be read as an index by some and as a manifest by others (CVE-2021-41190).
  if (document.manifests !== undefined) throw malformed("the image manifest is an index as well")
  const config = parseDescriptor(document.config, "config in the image manifest")
  if (!CONFIG_MEDIA_TYPES.includes(config.mediaType))
    throw malformed(`the manifest's config is of type ${quote(config.mediaType)}: not a container image`)
  const layers = list(document.layers, "layers in the image manifest", limits.layers)
  return { mediaType, config, layers: layers.map((layer, i) => parseDescriptor(layer, `layer ${i} in the manifest`)) }
}

const INDEX_MANIFESTS = 1024

/** @throws EvidenceError malformed-image */
export function parseImageIndex(bytes: Uint8Array): ImageIndex {
  const document = parseDocument(bytes, "the image index")
  const mediaType = ownMediaType(document, indexMediaTypes, "the image index")
  if (document.config !== undefined || document.layers !== undefined)
    throw malformed("the image index is a manifest as well")
  const manifests = list(document.manifests, "manifests in the image index", INDEX_MANIFESTS)
  return { mediaType, manifests: manifests.map((entry, i) => parseDescriptor(entry, `manifest ${i} in the index`)) }
}

/** @throws EvidenceError malformed-image */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const what = "the image config"
  const document = parseDocument(bytes, what)
  const rootfs = object(document.rootfs, `rootfs in ${what}`)
  if (rootfs.type !== "layers") throw malformed(`rootfs in ${what} is not of type "layers"`)
  return {
    os: platformPart(document.os, `os in ${what}`),
    architecture: platformPart(document.architecture, `architecture in ${what}`),
    variant: optional(document.variant, value => platformPart(value, `variant in ${what}`)) ?? null,
    created: optional(document.created, value => text(value, `created in ${what}`)) ?? null,
    config: parseExecution(optional(document.config, value => object(value, `config in ${what}`)) ?? {}),
    diffIds: list(rootfs.diff_ids, `diff_ids in ${what}`, limits.layers).map((id, i) => digest(id, `diff_id ${i}`)),
    history: (optional(document.history, value => list(value, `history in ${what}`, HISTORY_ENTRIES)) ?? []).map(
      parseHistoryEntry,
    ),
  }
}

const HISTORY_ENTRIES = 4096

function parseExecution(config: JsonObject): ImageView["config"] {
  const what = (field: string) => `${field} in the image config`
  const texts = (field: string) =>
    (optional(config[field], value => list(value, what(field), CONFIG_ITEMS)) ?? []).map(item =>
      text(item, what(field)),
    )
  const labels = optional(config.Labels, value => object(value, what("Labels"))) ?? {}
  return {
    user: optional(config.User, value => text(value, what("User"))) ?? "",
    labels: strings(labels, what("Labels")),
    env: texts("Env"),
    entrypoint: texts("Entrypoint"),
    cmd: texts("Cmd"),
    workingDir: optional(config.WorkingDir, value => text(value, what("WorkingDir"))) ?? "",
  }
}

const CONFIG_ITEMS = 65_536

function parseHistoryEntry(value: unknown, index: number): HistoryEntry {
  const what = `history entry ${index} in the image config`
  const entry = object(value, what)
  const emptyLayer = optional(entry.empty_layer, flag => flag) ?? false
  if (typeof emptyLayer !== "boolean") throw malformed(`empty_layer of ${what} is not true or false`)
  return { createdBy: optional(entry.created_by, by => text(by, `created_by of ${what}`)) ?? "", emptyLayer }
}

/**
 * The Dockerfile instruction of each layer, by the config's history. History and layers that do not agree in number say
 * nothing about which made which: then every one is null.
 */
export function historyInstructions(config: ImageConfig): (string | null)[] {
  const made = config.history.filter(entry => !entry.emptyLayer)
  if (made.length !== config.diffIds.length) return config.diffIds.map(() => null)
  return made.map(entry => instructionOf(entry.createdBy))
}

// What engines write: "/bin/sh -c #(nop) COPY file:… in /x" and "/bin/sh -c make" (Docker's builder, buildah, with
// "|1 NAME=value " before it where build arguments are in force), "RUN /bin/sh -c make # buildkit" (BuildKit).
function instructionOf(createdBy: string): string | null {
  const line = createdBy.replace(/ # buildkit$/, "").trim()
  const shell = /^(?:RUN )?(?:\|\d+ .*?)?\/bin\/sh -c\s+([\s\S]*)$/.exec(line)
  const command = shell?.[1]
  if (command === undefined) return line === "" ? null : line
  return command.startsWith("#(nop)") ? command.slice("#(nop)".length).trim() || null : `RUN ${command}`
}

export interface ImageViewParts {
  readonly manifestBytes: Uint8Array
  readonly configBytes: Uint8Array
  /** The inventory of each layer, from the base up. */
  readonly layers: readonly (readonly InventoryEntry[])[]
}

/**
 * Puts an image's own bytes and its inventories together.
 *
 * @throws EvidenceError malformed-image for a manifest or config that is not one, inconsistent-bundle where they do not
 * belong together or the inventories are of another number of layers
 */
export async function buildImageView({ manifestBytes, configBytes, layers }: ImageViewParts): Promise<ImageView> {
  const manifest = parseImageManifest(manifestBytes)
  const configDigest = await sha256Digest(configBytes)
  if (manifest.config.digest !== configDigest || manifest.config.size !== configBytes.length)
    throw inconsistent(`the manifest names config ${manifest.config.digest}, found ${configDigest}`)
  const config = parseImageConfig(configBytes)
  for (const [what, { length }] of Object.entries({ "config's diff_ids": config.diffIds, inventories: layers }))
    if (length !== manifest.layers.length)
      throw inconsistent(`the manifest has ${manifest.layers.length} layers, the ${what} ${length}`)
  return {
    manifestDigest: await sha256Digest(manifestBytes),
    configDigest,
    platform: platformOf(config),
    config: config.config,
    layers: joinLayers(manifest, config, layers),
  }
}

/** `os/architecture[/variant]`. */
export const platformOf = ({
  os,
  architecture,
  variant,
}: Pick<ImageConfig, "os" | "architecture" | "variant">): string =>
  [os, architecture, variant].filter(Boolean).join("/")

function joinLayers(
  manifest: ImageManifest,
  config: ImageConfig,
  inventories: ImageViewParts["layers"],
): readonly ImageLayer[] {
  const instructions = historyInstructions(config)
  return manifest.layers.map(({ digest, mediaType, size }, i) => ({
    digest,
    diffId: config.diffIds[i] as Digest,
    mediaType,
    size,
    instruction: instructions[i] ?? null,
    entries: inventories[i] ?? [],
  }))
}

type JsonObject = Readonly<Record<string, unknown>>

const malformed = (why: string, details: { hint?: string; cause?: unknown } = {}) =>
  new EvidenceError("malformed-image", why, details)

const inconsistent = (why: string) => new EvidenceError("inconsistent-bundle", why)

const quote = (value: string) => JSON.stringify(value.slice(0, 128))

function parseDocument(bytes: Uint8Array, what: string): JsonObject {
  if (bytes.length > limits.documentBytes) throw malformed(`${what} is larger than ${limits.documentBytes} bytes`)
  try {
    return object(parseStrictJson(bytes, what), what)
  } catch (cause) {
    if (cause instanceof EvidenceError && cause.code === "malformed-json") throw malformed(cause.message, { cause })
    throw cause
  }
}

function ownMediaType(document: JsonObject, allowed: readonly string[], what: string): string {
  if (document.schemaVersion !== 2) throw malformed(`${what} is not of schemaVersion 2`)
  // OCI allows the field to be absent, which the descriptor then says.
  const mediaType = document.mediaType ?? allowed[0]
  if (typeof mediaType === "string" && allowed.includes(mediaType)) return mediaType
  throw malformed(`${what} is of type ${quote(String(mediaType))}`)
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  const descriptor = object(value, what)
  const { size } = descriptor
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
    throw malformed(`the size of ${what} is not a count`)
  const platform = optional(descriptor.platform, entry => parsePlatform(entry, what))
  return {
    mediaType: text(descriptor.mediaType, `the mediaType of ${what}`),
    digest: digest(descriptor.digest, what),
    size,
    ...(platform === undefined ? {} : { platform }),
    annotations: strings(
      optional(descriptor.annotations, entry => object(entry, `annotations of ${what}`)) ?? {},
      `annotations of ${what}`,
    ),
  }
}

function parsePlatform(value: unknown, what: string): string {
  const platform = object(value, `the platform of ${what}`)
  return platformOf({
    os: platformPart(platform.os, `the os of ${what}`),
    architecture: platformPart(platform.architecture, `the architecture of ${what}`),
    variant: optional(platform.variant, variant => platformPart(variant, `the variant of ${what}`)) ?? null,
  })
}

function digest(value: unknown, what: string): Digest {
  if (typeof value === "string" && isDigest(value)) return value
  throw malformed(`the digest of ${what} is not sha256: and 64 hexadecimal digits`)
}

function object(value: unknown, what: string): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject
  throw malformed(`${what} is not an object`)
}

function list(value: unknown, what: string, maximum: number): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(`${what} is not a list`)
  if (value.length > maximum) throw malformed(`${what} has more than ${maximum} items`)
  return value
}

function text(value: unknown, what: string): string {
  if (typeof value === "string") return value
  throw malformed(`${what} is not text`)
}

// Reports show platforms among words of our own, so they may look like nothing else.
function platformPart(value: unknown, what: string): string {
  if (typeof value === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/.test(value)) return value
  throw malformed(`${what} is not the name of one`)
}

// Docker writes null for what is not set.
const optional = <T>(value: unknown, read: (value: unknown) => T): T | undefined =>
  value === undefined || value === null ? undefined : read(value)

function strings(value: JsonObject, what: string): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, text(item, `${quote(key)} of ${what}`)]))
}
