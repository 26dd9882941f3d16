import { createHash } from "node:crypto"
import { mkdir, open, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Descriptor, digestOfHex, EvidenceError, hexOfDigest, parseImageIndex } from "@envidence/core"
import { type OpenedImage, openLayerBlob } from "./opened-image.js"

const IMAGE_BYTES = 64 * 1024 ** 3

/**
 * Writes the image as an OCI layout into a new folder, with the very bytes of its source: manifest, config, layers, and
 * the index that it was chosen from, whose other images stay out. Each blob's size and digest are verified.
 *
 * @throws EvidenceError digest-mismatch, limit-exceeded, interrupted, or as the source fails
 */
export async function writeOciLayout(image: OpenedImage, directory: string, signal?: AbortSignal): Promise<void> {
  const blobs = join(directory, "blobs", "sha256")
  await mkdir(blobs, { recursive: true })
  const total = image.manifest.layers.reduce((sum, { size }) => sum + size, 0)
  if (total > IMAGE_BYTES) throw new EvidenceError("limit-exceeded", `the image is larger than ${IMAGE_BYTES} bytes`)
  const written = new Set<string>()
  for (const layer of image.layers) {
    const { descriptor, index } = layer
    if (written.has(descriptor.digest)) continue
    written.add(descriptor.digest)
    const path = join(blobs, hexOfDigest(descriptor.digest))
    await writeVerified(path, await openLayerBlob(image, layer), descriptor, `layer ${index}`, signal)
  }
  const put = async (mediaType: string, digest: Descriptor["digest"], bytes: Uint8Array) => {
    await writeFile(join(blobs, hexOfDigest(digest)), bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const { manifest, manifestDigest, manifestBytes, configDigest, configBytes, index } = image
  await put(manifest.config.mediaType, configDigest, configBytes)
  const named = await put(manifest.mediaType, manifestDigest, manifestBytes)
  const root = index === null ? named : await put(parseImageIndex(index.bytes).mediaType, index.digest, index.bytes)
  await writeFile(join(directory, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [root] }))
  await writeFile(join(directory, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }))
}

async function writeVerified(
  path: string,
  stream: AsyncIterable<Buffer>,
  { digest, size }: Descriptor,
  what: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const handle = await open(path, "wx")
  const hash = createHash("sha256")
  let written = 0
  try {
    for await (const chunk of stream) {
      if (signal?.aborted) throw new EvidenceError("interrupted", "interrupted")
      written += chunk.length
      if (written > size) throw mismatch(`${what} is larger than the ${size} bytes of its descriptor`)
      hash.update(chunk)
      await handle.writeFile(chunk)
    }
  } finally {
    await handle.close()
  }
  if (written !== size) throw mismatch(`${what} has ${written} bytes, its descriptor says ${size}`)
  const found = digestOfHex(hash.digest("hex"))
  if (found !== digest) throw mismatch(`${what} hashes to ${found}, not to its name ${digest}`)
}

const mismatch = (why: string) => new EvidenceError("digest-mismatch", why)
