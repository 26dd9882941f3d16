// Images in tar archives: read in place, whatever the archive's names and links say.
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync, zstdCompressSync } from "node:zlib"
import {
  inventoriesOf,
  inventoryImage,
  MADE_MANIFEST_ANNOTATION,
  type OpenedImage,
  openDockerArchive,
  openOciArchive,
  openOciLayout,
  writeOciLayout,
} from "@envidence/oci"
import { describe, expect, it, onTestFinished } from "vitest"
import { configDigest, dockerEntries, layoutEntries, writeArchive } from "./image-archives.js"
import { digest, json, layer, refusal, refusalCode, temporaryFolder, writeLayout } from "./layers.js"
import { entry, header } from "./tar-writer.js"

const base = layer(
  Buffer.concat([
    entry("etc/", { type: "5" }),
    entry("etc/os-release", { content: "ID=debian\n" }),
    Buffer.alloc(1024),
  ]),
  "gzip",
  0,
)
const top = layer(Buffer.concat([entry("app.py", { content: "print()\n" }), Buffer.alloc(1024)]), "zstd", 1)
const plain = [
  layer(Buffer.concat([entry("etc/os-release", { content: "ID=debian\n" }), Buffer.alloc(1024)]), "none", 0),
  layer(Buffer.concat([entry("app.py", { content: "print()\n" }), Buffer.alloc(1024)]), "none", 1),
]

async function open(promise: Promise<OpenedImage>): Promise<OpenedImage> {
  const image = await promise
  onTestFinished(() => image.blobs.close())
  return image
}

const read = async (image: OpenedImage) => inventoriesOf(await inventoryImage(image))

describe("an archive of a layout", () => {
  it("gives what the folder gives, and writes nothing", async () => {
    const directory = writeLayout([base, top])
    for (const prefix of ["", "./"]) {
      const path = writeArchive(...layoutEntries(directory, prefix).values())
      const image = await open(openOciArchive(path))
      const folder = await openOciLayout(directory)
      expect(image).toMatchObject({ manifestOrigin: "stored", manifestDigest: folder.manifestDigest, index: null })
      expect(await read(image)).toEqual(await read(folder))
      expect(readdirSync(join(path, ".."))).toEqual(["image.tar"])
    }
  })
  it("may be written by GNU tar, in its own format and with names of any length", async () => {
    const directory = writeLayout([base, top])
    for (const format of ["gnu", "pax", "ustar"]) {
      const path = join(temporaryFolder(), "image.tar")
      execFileSync("tar", ["-C", directory, `--format=${format}`, "-cf", path, "."])
      expect(await read(await open(openOciArchive(path)))).toHaveLength(2)
    }
  })
  it("is reached by its annotation or digest where it holds several", async () => {
    const directory = writeLayout([base], {
      index: (manifest, put) => {
        const other = { ...manifest, ...put(json({ schemaVersion: 2, config: {}, layers: [] })) }
        const named = (one: object, name: string) => ({
          ...one,
          annotations: { "org.opencontainers.image.ref.name": name },
        })
        return { manifests: [named(manifest, "one"), named(other, "two")] }
      },
    })
    const path = writeArchive(...layoutEntries(directory).values())
    const image = await open(openOciArchive(path, { selector: { name: "one" } }))
    expect(image.layers).toHaveLength(1)
    const byDigest = await open(openOciArchive(path, { selector: { digest: image.manifestDigest } }))
    expect(byDigest.manifestDigest).toBe(image.manifestDigest)
    expect(await refusalCode(openOciArchive(path, { selector: { name: "two" } }))).toBe("malformed-image")
    expect(await refusalCode(openOciArchive(path, { selector: { name: "three" } }))).toBe("input-not-found")
  })
  it("is written out as the same layout", async () => {
    const directory = writeLayout([base, top])
    const image = await open(openOciArchive(writeArchive(...layoutEntries(directory).values())))
    const copy = join(temporaryFolder(), "copy")
    await writeOciLayout(image, copy)
    expect(readdirSync(join(copy, "blobs", "sha256")).sort()).toEqual(
      readdirSync(join(directory, "blobs", "sha256")).sort(),
    )
    expect((await openOciLayout(copy)).manifestDigest).toBe(image.manifestDigest)
  })

  it("is written out with the index that it was chosen from, whose others stay out", async () => {
    const directory = writeLayout([base, top], {
      index: (manifest, put) => {
        const of = (architecture: string, name: string) => ({
          ...manifest,
          digest: name,
          platform: { os: "linux", architecture },
        })
        const other = digest("of another machine")
        const inner = put(json({ schemaVersion: 2, manifests: [of("amd64", manifest.digest), of("arm64", other)] }))
        return { manifests: [{ mediaType: "application/vnd.oci.image.index.v1+json", ...inner }] }
      },
    })
    const image = await open(
      openOciArchive(writeArchive(...layoutEntries(directory).values()), { platforms: ["linux/amd64"] }),
    )
    const copy = join(temporaryFolder(), "copy")
    await writeOciLayout(image, copy)
    const written = await openOciLayout(copy, { platforms: ["linux/amd64"] })
    expect(written.index).toEqual(image.index)
    expect([written.manifestDigest, written.index?.platforms]).toEqual([
      image.manifestDigest,
      ["linux/amd64", "linux/arm64"],
    ])
  })

  const blob = `blobs/sha256/${top.source.descriptor.digest.slice(7)}`
  const bytes = top.blob
  // Another archive in as many bytes, compressed as well.
  const changed = zstdCompressSync(Buffer.concat([entry("app.py", { content: "prinT()\n" }), Buffer.alloc(1024)]))
  it("is of the same size where it is falsified", () => expect(changed).toHaveLength(bytes.length))
  const cases: [string, string, (entries: Map<string, Buffer>) => void][] = [
    ["lacks a layer", "malformed-image", entries => entries.delete(blob)],
    ["lacks index.json", "malformed-image", entries => entries.delete("index.json")],
    [
      "has a shorter layer",
      "malformed-image",
      entries => entries.set(blob, entry(blob, { content: bytes.subarray(1) })),
    ],
    [
      "has another layer of that size",
      "digest-mismatch",
      entries => entries.set(blob, entry(blob, { content: changed })),
    ],
    [
      "has a link in a layer's place",
      "malformed-image",
      entries => entries.set(blob, entry(blob, { type: "2", linkName: "/etc/passwd" })),
    ],
    [
      "has a hard link in a layer's place",
      "malformed-image",
      entries => entries.set(blob, entry(blob, { type: "1", linkName: "index.json" })),
    ],
    ["has a name twice", "malformed-image", entries => entries.set("more", entry("index.json", { content: "{}" }))],
    [
      "has a name twice, once with ./",
      "malformed-image",
      entries => entries.set("more", entry("./index.json", { content: "{}" })),
    ],
    ["is cut off", "malformed-image", entries => entries.set("more", header("more", { size: 10 ** 6 }))],
    [
      "has an entry after its end",
      "malformed-image",
      entries => entries.set("more", Buffer.alloc(1024 + 512, 0).fill(1, 1024)),
    ],
    [
      "has too many entries",
      "limit-exceeded",
      entries => entries.set("more", Buffer.concat(Array.from({ length: 4200 }, (_, i) => entry(`x${i}`)))),
    ],
    [
      "has an enormous index.json",
      "malformed-image",
      entries => entries.set("index.json", entry("index.json", { content: Buffer.alloc(33_000_000, " ") })),
    ],
    [
      "has a name of more than 64 KiB",
      "limit-exceeded",
      entries => entries.set("more", entry("x", { pax: { path: "x".repeat(70_000) } })),
    ],
  ]
  it.each(cases)("that %s: %s", async (_, code, damage) => {
    const entries = layoutEntries(writeLayout([base, top]))
    damage(entries)
    const path = writeArchive(...entries.values())
    const error = await refusal(open(openOciArchive(path)).then(read))
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(/.{10}/)])
  })
  it("that climbs out of its place is read where it lies", async () => {
    const outside = join(temporaryFolder(), "outside")
    const entries = layoutEntries(writeLayout([base, top]))
    entries.set("climb", entry(`../../../..${outside}`, { content: "x" }))
    entries.set("link", entry("link", { type: "2", linkName: "/" }))
    const path = writeArchive(...entries.values())
    expect(await read(await open(openOciArchive(path)))).toHaveLength(2)
    expect(readdirSync(join(outside, ".."))).toEqual([])
  })
  it("that is compressed, no archive, a folder, a pipe or not there", async () => {
    const folder = temporaryFolder()
    const path = (name: string) => join(folder, name)
    writeFileSync(path("gz"), gzipSync(readFileSync(writeArchive())))
    writeFileSync(path("text"), "hello".repeat(1000))
    writeFileSync(path("empty"), "")
    mkdirSync(path("folder"))
    execFileSync("mkfifo", [path("pipe")])
    const gz = await refusal(openOciArchive(path("gz")))
    expect([gz.code, gz.hint]).toEqual(["malformed-image", expect.stringContaining("Uncompress")])
    for (const name of ["text", "empty", "folder", "pipe"])
      expect([name, await refusalCode(openOciArchive(path(name)))]).toEqual([name, "malformed-image"])
    expect(await refusalCode(openOciArchive(path("none")))).toBe("input-not-found")
  })
  it("with zeros without end is left", async () => {
    const path = writeArchive(...layoutEntries(writeLayout([base])).values())
    truncateSync(path, 1024 ** 4)
    expect(await refusalCode(openOciArchive(path))).toBe("malformed-image")
  })
})

describe("an archive of docker save", () => {
  it("is known by its config, and its manifest says that it was made", async () => {
    const image = await open(openDockerArchive(writeArchive(...dockerEntries(plain, { tags: ["x:1"] }))))
    expect(image).toMatchObject({ manifestOrigin: "made", configDigest: configDigest(plain), platform: "linux/amd64" })
    expect(JSON.parse(Buffer.from(image.manifestBytes).toString()).annotations).toHaveProperty([
      MADE_MANIFEST_ANNOTATION,
    ])
    expect(digest(image.manifestBytes)).toBe(image.manifestDigest)
    expect((await read(image)).map(entries => entries.map(({ path }) => path))).toEqual([
      ["etc/os-release"],
      ["app.py"],
    ])
  })
  it("is the same whatever its files are called, and written out is a layout", async () => {
    const names = [
      ({ source }: (typeof plain)[0]) => `blobs/sha256/${source.diffId.slice(7)}`,
      (_: unknown, i: number) => `${i}.tar`,
    ]
    for (const layerName of names) {
      const image = await open(openDockerArchive(writeArchive(...dockerEntries(plain, { layerName }))))
      const copy = join(temporaryFolder(), "copy")
      await writeOciLayout(image, copy)
      const written = await openOciLayout(copy)
      expect([written.manifestDigest, written.configDigest]).toEqual([image.manifestDigest, configDigest(plain)])
      expect(await read(written)).toEqual(await read(image))
    }
  })
  it("may have compressed layers, as other tools write them", async () => {
    const image = await open(openDockerArchive(writeArchive(...dockerEntries([base, top]))))
    expect(image.layers.map(({ descriptor }) => descriptor.digest)).toEqual(
      [base, top].map(({ source }) => source.descriptor.digest),
    )
    expect(await read(image)).toHaveLength(2)
  })
  it("may have a link to another layer of its own, once", async () => {
    const [one] = plain
    if (one === undefined) throw new Error("no layer")
    const twice = [one, { ...one, source: { ...one.source, index: 1 } }]
    const links = (target: string) => {
      const entries = dockerEntries(twice, { layerName: (_, i) => `${i}/layer.tar` })
      entries[1] = entry("1/layer.tar", { type: "2", linkName: target })
      return writeArchive(...entries)
    }
    expect(await read(await open(openDockerArchive(links("../0/layer.tar"))))).toHaveLength(2)
    for (const target of ["/etc/passwd", "../../0/layer.tar", "layer.tar", "../1/layer.tar"])
      expect([target, await refusalCode(openDockerArchive(links(target)))]).toEqual([target, "malformed-image"])
  })
  it("with several images wants one named", async () => {
    const [config] = dockerEntries(plain).slice(-2)
    const name = `${configDigest(plain).slice(7)}.json`
    const layers = plain.map(({ source }) => `${source.diffId.slice(7)}/layer.tar`)
    const manifest = ["a:1", "localhost/b:latest"].map(tag => ({ Config: name, RepoTags: [tag], Layers: layers }))
    const entries = [...dockerEntries(plain).slice(0, 2), config ?? Buffer.alloc(0)]
    const path = writeArchive(...entries, entry("manifest.json", { content: json(manifest) }))
    expect((await refusal(openDockerArchive(path))).code).toBe("usage")
    expect((await open(openDockerArchive(path, "localhost/b"))).configDigest).toBe(configDigest(plain))
    expect((await open(openDockerArchive(path, "docker.io/library/a:1"))).configDigest).toBe(configDigest(plain))
    expect(await refusalCode(openDockerArchive(path, "c"))).toBe("input-not-found")
  })

  const cases: [string, string, Parameters<typeof dockerEntries>[1]][] = [
    ["has fewer layers than its config", "malformed-image", { manifest: { Layers: [] } }],
    ["has no config", "malformed-image", { manifest: { Config: "none.json" } }],
    ["names a file of this machine", "malformed-image", { manifest: { Config: "/etc/passwd" } }],
    ["has a config that is none", "malformed-image", { config: { rootfs: null } }],
    ["has layers that are no list", "malformed-image", { manifest: { Layers: {} } }],
    ["has names without end", "malformed-image", { manifest: { Config: "x".repeat(2000) } }],
    [
      "has another layer than the config names",
      "digest-mismatch",
      { config: { rootfs: { type: "layers", diff_ids: [digest("x"), digest("y")] } } },
    ],
  ]
  it.each(cases)("that %s: %s", async (_, code, options) => {
    const path = writeArchive(...dockerEntries(plain, options))
    expect(await refusalCode(open(openDockerArchive(path)).then(read))).toBe(code)
  })
  it("that is a layout, or holds nothing", async () => {
    const path = writeArchive(...layoutEntries(writeLayout([base])).values())
    expect(await refusalCode(openDockerArchive(path))).toBe("malformed-image")
    expect(await refusalCode(openDockerArchive(writeArchive(entry("manifest.json", { content: "[]" }))))).toBe(
      "input-not-found",
    )
    expect(await refusalCode(openDockerArchive(writeArchive(entry("manifest.json", { content: "null" }))))).toBe(
      "malformed-image",
    )
  })
  it("may be reached by a link of the caller's", async () => {
    const path = join(temporaryFolder(), "link")
    symlinkSync(writeArchive(...dockerEntries(plain)), path)
    expect((await open(openDockerArchive(path))).layers).toHaveLength(2)
  })
})
