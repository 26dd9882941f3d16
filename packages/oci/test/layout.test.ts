import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { buildImageView } from "@envidence/core"
import { inventoriesOf, inventoryImage, openOciLayout } from "@envidence/oci"
import { describe, expect, it } from "vitest"
import { type Change, digest, json, layer, refusal, refusalCode, temporaryFolder, writeLayout } from "./layers.js"
import { archive, entry } from "./tar-writer.js"

const base = layer(
  archive(entry("etc/", { type: "5" }), entry("etc/os-release", { content: "ID=debian\n" })),
  "gzip",
  0,
)
const top = layer(archive(entry("app.py", { content: "print()\n" })), "zstd", 1)

const layout = (change?: Change) => writeLayout([base, top], change)
const blobOf = (directory: string, name: string) => join(directory, "blobs", "sha256", name.replace("sha256:", ""))
const manifestOf = (directory: string): string =>
  JSON.parse(readFileSync(join(directory, "index.json"), "utf8")).manifests[0].digest

describe("a layout", () => {
  it("gives the image's own bytes, and with its inventory the view", async () => {
    const directory = layout()
    const opened = await openOciLayout(directory)
    expect(opened).toMatchObject({ platform: "linux/amd64", index: null, manifestDigest: manifestOf(directory) })
    expect(digest(opened.manifestBytes)).toBe(opened.manifestDigest)
    const progress: number[] = []
    const inventory = await inventoryImage(opened, { onProgress: ({ done }) => progress.push(done) })
    expect(progress).toEqual([1, 2])
    const view = await buildImageView({ ...opened, layers: inventoriesOf(inventory) })
    expect(view.config).toMatchObject({ user: "1000", labels: { a: "b" }, cmd: [], entrypoint: [] })
    expect(view.layers.map(({ instruction, entries }) => [instruction, entries.map(({ path }) => path)])).toEqual([
      ["COPY file:0 in /", ["etc/", "etc/os-release"]],
      ["COPY file:1 in /", ["app.py"]],
    ])
    expect(view.layers[1]).toMatchObject({ digest: top.source.descriptor.digest, diffId: top.source.diffId })
  })

  it("keeps wanted files within one budget for all layers", async () => {
    const [wants, opened] = [() => 100, await openOciLayout(layout())]
    const keptOf = async (wantedBytes: number) => {
      const { layers } = await inventoryImage(opened, { wants, limits: { wantedBytes } })
      return layers.flatMap(({ wanted }) => [...wanted.values()].map(content => content?.toString() ?? null))
    }
    expect(await keptOf(18)).toEqual(["ID=debian\n", "print()\n"])
    expect(await keptOf(17)).toEqual(["ID=debian\n", null])
  })

  it("may be of Docker's media types", async () => {
    const { mediaType: _, ...stored } = base.source.descriptor
    const layers = [{ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", ...stored }]
    const type = "application/vnd.docker.distribution.manifest.v2+json"
    const directory = writeLayout([base], {
      manifest: { mediaType: type, layers },
      configType: "application/vnd.docker.container.image.v1+json",
      index: manifest => ({ manifests: [{ ...manifest, mediaType: type }] }),
    })
    expect((await inventoryImage(await openOciLayout(directory))).layers[0]?.entries).toHaveLength(2)
  })

  it("chooses the image of the platform from a nested index, and names the others", async () => {
    const directory = layout({ index: (manifest, put) => nestedIndex(manifest, put, ["linux/arm64", "linux/amd64"]) })
    const opened = await openOciLayout(directory, { platforms: ["linux/amd64"] })
    expect(opened.index?.platforms).toEqual(["linux/arm64/v8", "linux/amd64"])
    expect(digest(opened.index?.bytes ?? "")).toBe(opened.index?.digest)
    expect(await refusalCode(openOciLayout(directory, { platforms: ["linux/s390x"] }))).toBe("input-not-found")
  })

  it("takes the only image of an index wherever it is for, attestations aside", async () => {
    const directory = layout({ index: (manifest, put) => nestedIndex(manifest, put, ["linux/amd64"]) })
    expect((await openOciLayout(directory, { platforms: ["linux/s390x"] })).platform).toBe("linux/amd64")
  })

  it("with two images for one platform is ambiguous", async () => {
    const directory = layout({
      index: (manifest, put) => nestedIndex(manifest, put, ["linux/amd64", "linux/amd64"]),
    })
    expect(await refusalCode(openOciLayout(directory, { platforms: ["linux/amd64"] }))).toBe("malformed-image")
  })
})

function nestedIndex(
  manifest: object,
  put: (bytes: Buffer) => object,
  platforms: readonly string[],
): Record<string, unknown> {
  const images = platforms.map(platform => {
    const [os, architecture] = platform.split("/")
    return { ...manifest, platform: { os, architecture, ...(architecture === "arm64" ? { variant: "v8" } : {}) } }
  })
  const attestation = { ...manifest, platform: { os: "unknown", architecture: "unknown" } }
  const index = put(json({ schemaVersion: 2, manifests: [...images, attestation] }))
  return { manifests: [{ mediaType: "application/vnd.oci.image.index.v1+json", ...index }] }
}

describe("a refused layout", () => {
  it("does not exist", async () => {
    expect(await refusalCode(openOciLayout(join(temporaryFolder(), "none")))).toBe("input-not-found")
  })

  const broken: [string, (directory: string) => void][] = [
    ["is an empty folder", directory => rmSync(join(directory, "blobs"), { recursive: true })],
    ["has no oci-layout", directory => rmSync(join(directory, "oci-layout"))],
    ["is of another version", directory => writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"2"}')],
    ["has no index.json", directory => rmSync(join(directory, "index.json"))],
    ["has an index.json that is no JSON", directory => writeFileSync(join(directory, "index.json"), "{")],
    [
      "has an index.json with a key twice",
      directory => writeFileSync(join(directory, "index.json"), '{"schemaVersion":2,"schemaVersion":2,"manifests":[]}'),
    ],
    ["has an enormous index.json", directory => truncateSync(join(directory, "index.json"), 10 ** 9)],
    ["lacks a layer", directory => rmSync(blobOf(directory, top.source.descriptor.digest))],
    ["has a shorter layer", directory => truncateSync(blobOf(directory, top.source.descriptor.digest), 10)],
    ["lacks its manifest", directory => rmSync(blobOf(directory, manifestOf(directory)))],
    [
      "has a link in a layer's place",
      directory => replace(blobOf(directory, top.source.descriptor.digest), (path, moved) => symlinkSync(moved, path)),
    ],
    [
      "has a link in index.json's place",
      directory => replace(join(directory, "index.json"), (path, moved) => symlinkSync(moved, path)),
    ],
    [
      "has a link in the blobs' place",
      directory => replace(join(directory, "blobs"), (path, moved) => symlinkSync(moved, path)),
    ],
    [
      "has a folder in a layer's place",
      directory => replace(blobOf(directory, top.source.descriptor.digest), path => mkdirSync(path)),
    ],
    [
      "has a pipe in a layer's place",
      directory => replace(blobOf(directory, top.source.descriptor.digest), path => execFileSync("mkfifo", [path])),
    ],
  ]
  it.each(broken)("%s", async (_, damage) => {
    const directory = layout()
    damage(directory)
    expect(await refusalCode(openOciLayout(directory))).toBe("malformed-image")
  })

  function replace(path: string, make: (path: string, moved: string) => void): void {
    const moved = join(temporaryFolder(), "moved")
    renameSync(path, moved)
    make(path, moved)
  }

  const climbing = `sha256:${"../".repeat(20)}etc/passwd`
  const descriptor = (change: object) => ({ ...base.source.descriptor, annotations: undefined, ...change })
  const falsified: [string, Change][] = [
    ["names a manifest by a path", { index: manifest => ({ manifests: [{ ...manifest, digest: climbing }] }) }],
    ["names a layer by a path", { manifest: { layers: [descriptor({ digest: climbing })] } }],
    ["names a layer by another hash", { manifest: { layers: [descriptor({ digest: `sha512:${"0".repeat(128)}` })] } }],
    ["names a layer in capitals", { manifest: { layers: [descriptor({ digest: `sha256:${"A".repeat(64)}` })] } }],
    ["has a negative size", { manifest: { layers: [descriptor({ size: -1 })] } }],
    ["has a size that is text", { manifest: { layers: [descriptor({ size: "1" })] } }],
    ["has fewer layers than diff_ids", { manifest: { layers: [] } }],
    ["has 129 layers", { manifest: { layers: Array.from({ length: 129 }, () => descriptor({})) } }],
    ["has a manifest that is an index too", { manifest: { manifests: [] } }],
    ["has a manifest of an old version", { manifest: { schemaVersion: 1 } }],
    ["has a manifest of another type", { manifest: { mediaType: "application/vnd.oci.image.index.v1+json" } }],
    [
      "is no container image",
      { manifest: { config: { ...descriptor({}), mediaType: "application/vnd.oci.empty.v1+json" } } },
    ],
    ["has labels that are not text", { config: { config: { Labels: { a: 1 } } } }],
    ["has a command that is not a list", { config: { config: { Cmd: "sh" } } }],
    ["has no rootfs", { config: { rootfs: null } }],
    ["has a diff_id that is no digest", { config: { rootfs: { type: "layers", diff_ids: ["x", "y"] } } }],
    [
      "names something else than an image",
      { index: manifest => ({ manifests: [{ ...manifest, mediaType: "text/plain" }] }) },
    ],
    [
      "nests one index in another",
      {
        index: (manifest, put) => {
          const inner = {
            mediaType: "application/vnd.oci.image.index.v1+json",
            ...put(json({ schemaVersion: 2, manifests: [manifest] })),
          }
          const outer = put(json({ schemaVersion: 2, manifests: [inner, inner] }))
          return { manifests: [{ mediaType: "application/vnd.oci.image.index.v1+json", ...outer }] }
        },
      },
    ],
  ]
  it.each(falsified)("%s", async (_, change) => {
    const error = await refusal(openOciLayout(layout(change)))
    expect(["malformed-image", "input-not-found"]).toContain(error.code)
  })

  it("has a manifest, a config or a layer that is not what its name says", async () => {
    for (const which of ["manifest", "config", "layer"] as const) {
      const directory = layout()
      const manifestDigest = manifestOf(directory)
      const manifest = JSON.parse(readFileSync(blobOf(directory, manifestDigest), "utf8"))
      const names = { manifest: manifestDigest, config: manifest.config.digest, layer: top.source.descriptor.digest }
      const path = blobOf(directory, names[which])
      const bytes = readFileSync(path)
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
      writeFileSync(path, bytes)
      const outcome = openOciLayout(directory).then(opened => inventoryImage(opened))
      const { code, exitCode } = await refusal(outcome)
      expect(exitCode).toBe(4)
      if (which !== "layer") expect(code).toBe("digest-mismatch")
    }
  })

  it("names one image twice, without a platform", async () => {
    const twice = layout({
      index: ({ mediaType, digest, size }) => {
        const manifest = { mediaType, digest, size }
        return { manifests: [manifest, manifest] }
      },
    })
    expect(await refusalCode(openOciLayout(twice))).toBe("malformed-image")
  })

  it("has two layers in each other's place", async () => {
    const layers = [top, base].map(({ source: { descriptor: d } }) => ({
      mediaType: d.mediaType,
      digest: d.digest,
      size: d.size,
    }))
    const opened = await openOciLayout(layout({ manifest: { layers } }))
    expect(await refusalCode(inventoryImage(opened))).toBe("digest-mismatch")
  })
})
