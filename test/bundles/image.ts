// A tiny image as an OCI layout, made in code: a base layer with package databases, and the environment's own files.
import { createHash } from "node:crypto"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { archive, type EntryOptions, entry } from "../../packages/oci/test/tar-writer.ts"

export type Layer = Readonly<Record<string, string | Buffer | EntryOptions>>

export interface ImageOptions {
  readonly layers?: readonly Layer[]
  readonly labels?: Readonly<Record<string, string>>
  /** What the config's history says of each layer. */
  readonly history?: readonly string[]
}

export const honestLabels: Readonly<Record<string, string>> = {
  "org.opencontainers.image.title": "tiny",
  "org.opencontainers.image.description": "Guess a number",
  "org.opencontainers.image.version": "1.2.0",
  "org.opencontainers.image.licenses": "Apache-2.0",
  "org.opencontainers.image.source": "https://example.com/tiny",
}

const DPKG_STATUS = `Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc
Version: 2.36-9
Description: GNU C Library

`
const METADATA = "Metadata-Version: 2.1\nName: openenv\nVersion: 0.1.13\nLicense-Expression: BSD-3-Clause\n\n"

export const honestLayers: readonly Layer[] = [
  {
    "etc/os-release": "ID=debian\nVERSION_ID=12\n",
    "var/lib/dpkg/status": DPKG_STATUS,
    "usr/lib/python3/dist-packages/openenv-0.1.13.dist-info/METADATA": METADATA,
  },
  { "app/server.py": "print('hello')\n", "app/current": { type: "2", linkName: "server.py" } },
  { "app/data.json": "{}\n" },
]

export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex")

/** Writes the layout into the new folder `directory`. */
export function writeImage(directory: string, options: ImageOptions = {}): void {
  const { layers = honestLayers, labels = honestLabels } = options
  const history = options.history ?? layers.map((_, i) => `/bin/sh -c #(nop) COPY dir:${i} in /app `)
  mkdirSync(join(directory, "blobs", "sha256"), { recursive: true })
  const put = (mediaType: string, bytes: Buffer) => {
    writeFileSync(join(directory, "blobs", "sha256", sha256(bytes)), bytes)
    return { mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length }
  }
  const json = (value: unknown) => Buffer.from(JSON.stringify(value))
  const tars = layers.map(writeLayer)
  const config = put(
    "application/vnd.oci.image.config.v1+json",
    json({
      architecture: "amd64",
      os: "linux",
      config: { User: "65532:65532", Labels: labels },
      rootfs: { type: "layers", diff_ids: tars.map(tar => `sha256:${sha256(tar)}`) },
      history: history.map(created_by => ({ created_by })),
    }),
  )
  const manifest = put(
    "application/vnd.oci.image.manifest.v1+json",
    json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config,
      layers: tars.map(tar => put("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(tar))),
    }),
  )
  writeFileSync(join(directory, "index.json"), json({ schemaVersion: 2, manifests: [manifest] }))
  writeFileSync(join(directory, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }))
}

const writeLayer = (layer: Layer): Buffer =>
  archive(...Object.entries(layer).map(([path, file]) => entryOf(path, file)))

// Longer names than a header holds go into pax records, as archivers do.
function entryOf(path: string, file: Layer[string]): Buffer {
  const options: EntryOptions = typeof file === "string" || Buffer.isBuffer(file) ? { content: file } : file
  return entry(path, Buffer.byteLength(path) <= 100 ? options : { ...options, pax: { path, ...options.pax } })
}
