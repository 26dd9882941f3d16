// An image of the builders as the files in which images are passed on.
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { layoutEntries } from "../../packages/oci/test/image-archives.ts"
import { archive, entry } from "../../packages/oci/test/tar-writer.ts"
import { newFolder } from "../bundles/state.ts"

/** What `dockerArchive` calls the image. */
export const NAME = "localhost/tiny:1"

interface ImageFolder {
  readonly imageDirectory: string
}

/** Writes the layout as one tar file; returns its path. */
export function ociArchive({ imageDirectory }: ImageFolder): string {
  const path = join(newFolder(), "image.tar")
  writeFileSync(path, archive(...layoutEntries(imageDirectory).values()))
  return path
}

/** What `docker save` would write of the layout's image. */
export function dockerArchive({ imageDirectory }: ImageFolder): Buffer {
  const blob = (digest: string) => readFileSync(join(imageDirectory, "blobs", ...digest.split(":")))
  const index = JSON.parse(readFileSync(join(imageDirectory, "index.json"), "utf8"))
  const manifest = JSON.parse(blob(index.manifests[0].digest).toString())
  const layers = manifest.layers.map(({ digest }: { digest: string }, i: number) => ({
    name: `${i}/layer.tar`,
    content: gunzipSync(blob(digest)),
  }))
  const config = `${manifest.config.digest.slice(7)}.json`
  const Layers = layers.map(({ name }: { name: string }) => name)
  return archive(
    ...layers.map(({ name, content }: { name: string; content: Buffer }) => entry(name, { content })),
    entry(config, { content: blob(manifest.config.digest) }),
    entry("manifest.json", { content: JSON.stringify([{ Config: config, RepoTags: [NAME], Layers }]) }),
  )
}
