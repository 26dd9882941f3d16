// Archives of images for tests, as the tools write them, with honest names unless a test changes them.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { digest, imageConfig, json, type Layer, sha256, temporaryFolder } from "./layers.js"
import { archive, entry } from "./tar-writer.js"

/** A tar file of these entries, each with its whole header. */
export function writeArchive(...entries: readonly Buffer[]): string {
  const path = join(temporaryFolder(), "image.tar")
  writeFileSync(path, archive(...entries))
  return path
}

/** What `tar -c` makes of a layout's folder, by name; `prefix` stands before each. */
export function layoutEntries(directory: string, prefix = ""): Map<string, Buffer> {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" }).sort()
  return new Map(
    names.map(name => {
      const isDirectory = statSync(join(directory, name)).isDirectory()
      return [
        name,
        isDirectory
          ? entry(`${prefix}${name}/`, { type: "5" })
          : entry(`${prefix}${name}`, { content: readFileSync(join(directory, name)) }),
      ]
    }),
  )
}

export interface DockerArchiveOptions {
  readonly tags?: readonly string[] | null
  /** Where layer `i` lies. */
  readonly layerName?: (layer: Layer, i: number) => string
  readonly config?: Record<string, unknown>
  readonly manifest?: Record<string, unknown>
}

/** What `docker save` writes of the layers, as entries. */
export function dockerEntries(layers: readonly Layer[], options: DockerArchiveOptions = {}): Buffer[] {
  const { layerName = ({ source }) => `${source.diffId.slice(7)}/layer.tar` } = options
  const config = json({ ...imageConfig(layers), ...options.config })
  const configName = `${sha256(config)}.json`
  const names = layers.map(layerName)
  const manifest = { Config: configName, RepoTags: options.tags ?? null, Layers: names, ...options.manifest }
  return [
    ...layers.map(({ blob }, i) => entry(names[i] ?? "", { content: blob })),
    entry(configName, { content: config }),
    entry("manifest.json", { content: json([manifest]) }),
  ]
}

export const configDigest = (layers: readonly Layer[]) => digest(json(imageConfig(layers)))
