import { createHash } from "node:crypto"
import { Readable } from "node:stream"
import {
  type Descriptor,
  type Digest,
  digestOfHex,
  EvidenceError,
  type ImageConfig,
  limits,
  parseImageConfig,
  parseImageManifest,
  parseStrictJson,
  platformOf,
} from "@envidence/core"
import { sameRepositoryTag } from "./image-reference.js"
import { type BlobSource, layersOf, type OpenedImage, sha256 } from "./opened-image.js"
import { type FileInTar, TarFile } from "./tar-file.js"

/** An image of the archive's manifest.json. */
interface ArchivedImage {
  readonly config: string
  readonly names: readonly string[]
  readonly layers: readonly string[]
}

/**
 * Opens what `docker save` and `podman save` write (manifest.json, config and layers; of Docker 25 and later the same
 * beside an OCI layout). Nothing is unpacked. The archive has no manifest of the image: one is made, with an annotation
 * that says so, and the image is known by its config.
 *
 * @throws EvidenceError input-not-found, usage where an image must be chosen, malformed-image, limit-exceeded,
 * input-unreadable
 */
export async function openDockerArchive(path: string, name?: string): Promise<OpenedImage> {
  return readDockerArchive(await TarFile.open(path), name)
}

/** The same from an archive that is open; it is closed where it is refused. */
export async function readDockerArchive(archive: TarFile, name?: string): Promise<OpenedImage> {
  try {
    return await assemble(archive, name)
  } catch (error) {
    await archive.close()
    throw error
  }
}

async function assemble(archive: TarFile, name: string | undefined): Promise<OpenedImage> {
  const chosen = choose(parseArchiveManifest(await archive.read(archive.file("manifest.json"))), archive.path, name)
  const configBytes = await archive.read(archive.fileOrLinked(chosen.config))
  const config = parseImageConfig(configBytes)
  const { layers, files } = await describeLayers(archive, chosen, config)
  const manifestBytes = makeManifest(configBytes, layers)
  const manifest = parseImageManifest(manifestBytes)
  return {
    manifestDigest: sha256(manifestBytes),
    manifestBytes,
    manifest,
    manifestOrigin: "made",
    configDigest: manifest.config.digest,
    configBytes,
    config,
    platform: platformOf(config),
    index: null,
    layers: layersOf(manifest, config),
    blobs: new DockerArchiveBlobs(archive, files, configBytes),
  }
}

function choose(images: readonly ArchivedImage[], path: string, name: string | undefined): ArchivedImage {
  const named =
    name === undefined ? images : images.filter(image => image.names.some(is => sameRepositoryTag(is, name)))
  const [only, ...others] = named
  const known = images.flatMap(image => image.names).join(", ") || "none has a name"
  if (only === undefined)
    throw new EvidenceError("input-not-found", `${path} holds no image ${name ?? "at all"}: ${known}`)
  if (others.length === 0) return only
  throw new EvidenceError("usage", `${path} holds ${named.length} images: ${known}`, {
    hint: "Name one: docker-archive:FILE:REF",
  })
}

const IMAGES = 256
const NAME_CHARACTERS = 1024

function parseArchiveManifest(bytes: Buffer): ArchivedImage[] {
  let document: unknown
  try {
    document = parseStrictJson(bytes, "manifest.json")
  } catch (cause) {
    throw malformed((cause as Error).message, cause)
  }
  return list(document, "manifest.json", IMAGES).map((value, i) => {
    const entry = value as { Config?: unknown; RepoTags?: unknown; Layers?: unknown } | null
    return {
      config: text(entry?.Config, `Config of image ${i}`),
      names: list(entry?.RepoTags ?? [], `RepoTags of image ${i}`, IMAGES).map(tag => text(tag, `a tag of image ${i}`)),
      layers: list(entry?.Layers ?? [], `Layers of image ${i}`, limits.layers).map(layer =>
        text(layer, `a layer of image ${i}`),
      ),
    }
  })
}

function list(value: unknown, what: string, maximum: number): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(`${what} is not a list`)
  if (value.length > maximum) throw malformed(`${what} has more than ${maximum} items`)
  return value
}

function text(value: unknown, what: string): string {
  if (typeof value === "string" && value.length <= NAME_CHARACTERS) return value
  throw malformed(`${what} in manifest.json is not a short text`)
}

type StoredDescriptor = Pick<Descriptor, "mediaType" | "digest" | "size">

async function describeLayers(archive: TarFile, chosen: ArchivedImage, { diffIds }: ImageConfig) {
  if (chosen.layers.length !== diffIds.length)
    throw malformed(`manifest.json has ${chosen.layers.length} layers, the config ${diffIds.length} diff_ids`)
  const layers: StoredDescriptor[] = []
  const files = new Map<Digest, FileInTar>()
  for (const [i, name] of chosen.layers.entries()) {
    const file = archive.fileOrLinked(name)
    const descriptor = await describeLayer(archive, file, diffIds[i] as Digest)
    layers.push(descriptor)
    files.set(descriptor.digest, file)
  }
  return { layers, files }
}

const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

/** A plain layer's digest is its diffID, which is verified when it is read; a compressed one is hashed for its own. */
async function describeLayer(archive: TarFile, file: FileInTar, diffId: Digest): Promise<StoredDescriptor> {
  const magic = (await archive.head(file, 4)).toString("hex")
  const suffix = magic.startsWith("1f8b") ? "+gzip" : magic === "28b52ffd" ? "+zstd" : ""
  if (suffix === "") return { mediaType: LAYER_TYPE, digest: diffId, size: file.size }
  const hash = createHash("sha256")
  for await (const chunk of archive.stream(file)) hash.update(chunk as Buffer)
  return { mediaType: LAYER_TYPE + suffix, digest: digestOfHex(hash.digest("hex")), size: file.size }
}

/** On the manifest that is made for an image whose source keeps none. */
export const MADE_MANIFEST_ANNOTATION = "dev.envidence.manifest"

const makeManifest = (configBytes: Buffer, layers: readonly StoredDescriptor[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: sha256(configBytes),
        size: configBytes.length,
      },
      layers,
      annotations: { [MADE_MANIFEST_ANNOTATION]: "made by envidence from a docker-archive, which keeps none" },
    }),
  )

class DockerArchiveBlobs implements BlobSource {
  readonly #archive: TarFile
  readonly #files: ReadonlyMap<Digest, FileInTar>
  readonly #config: Buffer

  constructor(archive: TarFile, files: ReadonlyMap<Digest, FileInTar>, config: Buffer) {
    this.#archive = archive
    this.#files = files
    this.#config = config
  }

  async read({ digest }: Descriptor, what: string): Promise<Buffer> {
    if (digest === sha256(this.#config)) return this.#config
    throw malformed(`${what} (${digest}) is not in ${this.#archive.path}`)
  }

  async open(descriptor: Descriptor, what: string): Promise<Readable> {
    const file = this.#files.get(descriptor.digest)
    return file === undefined
      ? Readable.from([await this.read(descriptor, what)], { objectMode: false })
      : this.#archive.stream(file)
  }

  async check(): Promise<void> {}

  close(): Promise<void> {
    return this.#archive.close()
  }
}

const malformed = (why: string, cause?: unknown) => new EvidenceError("malformed-image", why, { cause })
