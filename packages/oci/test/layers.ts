// Makes layers and layouts for tests, with honest digests unless a test changes them.
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Readable } from "node:stream"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { type Digest, digestOfHex, EvidenceError } from "@envidence/core"
import { type LayerInventory, type LayerSource, readLayer } from "@envidence/oci"
import { onTestFinished } from "vitest"

export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex")
export const digest = (bytes: Uint8Array | string): Digest => digestOfHex(sha256(bytes))

export type Compression = "none" | "gzip" | "zstd"

const MEDIA_TYPE = {
  none: "application/vnd.oci.image.layer.v1.tar",
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
} as const

export interface Layer {
  readonly blob: Buffer
  readonly source: LayerSource
}

export function layer(tar: Buffer, compression: Compression = "none", index = 0): Layer {
  return storedLayer(compress(tar, compression), digest(tar), compression, index)
}

export function storedLayer(blob: Buffer, diffId: Digest, compression: Compression, index = 0): Layer {
  const descriptor = { mediaType: MEDIA_TYPE[compression], digest: digest(blob), size: blob.length, annotations: {} }
  return { blob, source: { index, descriptor, diffId } }
}

export function compress(tar: Buffer, compression: Compression): Buffer {
  if (compression === "none") return tar
  return compression === "gzip" ? gzipSync(tar, { level: 1 }) : zstdCompressSync(tar)
}

type Options = Parameters<typeof readLayer>[2]

export const read = (layer: Layer, options?: Options): Promise<LayerInventory> =>
  readLayer(Readable.from([layer.blob], { objectMode: false }), layer.source, options)

export const readTar = (tar: Buffer, options?: Options): Promise<LayerInventory> => read(layer(tar), options)

export async function refusal(promise: Promise<unknown>): Promise<EvidenceError> {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  if (error instanceof EvidenceError) return error
  throw new Error(`expected an EvidenceError, got ${error === undefined ? "a result" : String(error)}`, {
    cause: error,
  })
}

export const refusalCode = async (promise: Promise<unknown>): Promise<string> => (await refusal(promise)).code

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "envidence-oci-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"

/** Writes an OCI layout of the layers; `change` may falsify any document before those that name it are made. */
export function writeLayout(layers: readonly Layer[], change: Change = {}): string {
  const directory = temporaryFolder()
  mkdirSync(join(directory, "blobs", "sha256"), { recursive: true })
  const put = (bytes: Buffer) => {
    writeFileSync(join(directory, "blobs", "sha256", sha256(bytes)), bytes)
    return { digest: digest(bytes), size: bytes.length }
  }
  for (const { blob } of layers) put(blob)
  const config = put(json({ ...imageConfig(layers), ...change.config }))
  const manifest = put(
    json({ ...imageManifest(layers, { mediaType: change.configType ?? CONFIG_TYPE, ...config }), ...change.manifest }),
  )
  const descriptor = { mediaType: "application/vnd.oci.image.manifest.v1+json", ...manifest }
  const index = { schemaVersion: 2, manifests: [descriptor], ...change.index?.(descriptor, put) }
  writeFileSync(join(directory, "index.json"), JSON.stringify(index))
  writeFileSync(join(directory, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }))
  return directory
}

export interface Stored {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
}

export interface Change {
  readonly config?: Record<string, unknown>
  readonly configType?: string
  readonly manifest?: Record<string, unknown>
  readonly index?: (manifest: Stored, put: (bytes: Buffer) => Omit<Stored, "mediaType">) => Record<string, unknown>
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

export const imageConfig = (layers: readonly Layer[]): Record<string, unknown> => ({
  architecture: "amd64",
  os: "linux",
  config: { User: "1000", Env: ["PATH=/usr/bin"], Labels: { a: "b" }, Cmd: null },
  rootfs: { type: "layers", diff_ids: layers.map(({ source }) => source.diffId) },
  history: layers.map((_, i) => ({ created_by: `/bin/sh -c #(nop) COPY file:${i} in /` })),
})

export const imageManifest = (layers: readonly Layer[], config: object): Record<string, unknown> => ({
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config,
  layers: layers.map(({ source }) => ({
    mediaType: source.descriptor.mediaType,
    digest: source.descriptor.digest,
    size: source.descriptor.size,
  })),
})
