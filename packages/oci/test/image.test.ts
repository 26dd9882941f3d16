import { deflateRawSync, gzipSync } from "node:zlib"
import {
  buildImageView,
  canonicalJson,
  historyInstructions,
  type InventoryEntry,
  normalizePath,
  parseImageConfig,
  parseInventory,
  pathInRoot,
  serializeInventory,
} from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { digest, imageConfig, imageManifest, json, layer, readTar, refusalCode, sha256 } from "./layers.js"
import { archive, entry } from "./tar-writer.js"

const code = (run: () => unknown) => refusalCode(Promise.resolve().then(run))

describe("an inventory in a bundle", () => {
  const sample = async () => {
    const { entries } = await readTar(
      archive(
        entry("d/", { type: "5", mtime: 1 }),
        entry(Buffer.from([0xff]), {
          content: "x",
          pax: { "SCHILY.xattr.b": "1", "SCHILY.xattr.a": "2", mtime: "1.5" },
        }),
        entry("c", { type: "3", device: [1, 2] }),
        entry("l", { type: "2", linkName: Buffer.from([0xfe]) }),
      ),
    )
    return entries
  }

  it("is one line of canonical JSON an entry, and reads back", async () => {
    const entries = await sample()
    const bytes = serializeInventory(entries)
    const lines = Buffer.from(bytes).toString().split("\n")
    expect(lines).toEqual([...entries.map(canonicalJson), ""])
    expect(parseInventory(bytes, "layer 0")).toEqual(entries)
    expect(parseInventory(serializeInventory([]), "layer 0")).toEqual([])
  })

  const file: InventoryEntry = {
    path: "f",
    type: "file",
    size: 0,
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: 0,
    sha256: sha256(""),
    content: "empty",
  }
  const { path: _path, ...pathless } = file
  const { sha256: _sha256, ...unhashed } = file
  const refused: [string, string, string][] = [
    ["a last line without an end", "malformed-json", canonicalJson(file)],
    ["an empty line", "malformed-json", "\n"],
    ["a line that is no JSON", "malformed-json", "{\n"],
    ["a key twice", "malformed-json", `{"path":"a",${canonicalJson(file).slice(1)}\n`],
    ["an unknown field", "schema-violation", `${canonicalJson({ ...file, other: 1 })}\n`],
    ["no path", "schema-violation", `${canonicalJson(pathless)}\n`],
    ["an empty path", "schema-violation", `${canonicalJson({ ...file, path: "" })}\n`],
    ["two paths", "schema-violation", `${canonicalJson({ ...file, pathBase64: "/w==" })}\n`],
    ["base64 for a path that is UTF-8", "schema-violation", `${canonicalJson({ ...pathless, pathBase64: "Zg==" })}\n`],
    ["base64 that is not canonical", "malformed-json", `${canonicalJson({ ...pathless, pathBase64: "/x==" })}\n`],
    ["a file without a hash", "schema-violation", `${canonicalJson(unhashed)}\n`],
    [
      "a directory with a size",
      "schema-violation",
      `${canonicalJson({ ...unhashed, content: undefined, type: "directory", size: 1 })}\n`,
    ],
    [
      "a link without a target",
      "schema-violation",
      `${canonicalJson({ ...pathless, path: "l", type: "symlink", sha256: undefined, content: undefined })}\n`,
    ],
    ["a file with a target", "schema-violation", `${canonicalJson({ ...file, linkTarget: "x" })}\n`],
    [
      "a file with device numbers",
      "schema-violation",
      `${canonicalJson({ ...file, device: { major: 1, minor: 1 } })}\n`,
    ],
    ["spaces", "schema-violation", `${JSON.stringify(file, Object.keys(file).sort()).replace(":", ": ")}\n`],
    ["another order of keys", "schema-violation", `${JSON.stringify({ ...pathless, path: "f" })}\n`],
    ["a line of 200 kB", "limit-exceeded", `${"x".repeat(200_000)}\n`],
    ["200,001 lines", "limit-exceeded", `${canonicalJson(file)}\n`.repeat(200_001)],
  ]
  it.each(refused)("is refused with %s", async (_, expected, text) => {
    expect(await code(() => parseInventory(Buffer.from(text), "layer 0"))).toBe(expected)
  })

  it("is not written where it would be refused", async () => {
    const long = { ...file, xattrs: { a: "A".repeat(90_000), b: "A".repeat(90_000) } }
    expect(await code(() => serializeInventory([long]))).toBe("limit-exceeded")
  })
})

describe("a path in the root", () => {
  it.each([
    ["./a", "a"],
    ["/a//b/", "a/b"],
    ["a/../../b", "b"],
    ["./", ""],
    ["..", ""],
    ["...", "..."],
    ["a/.b/..c", "a/.b/..c"],
  ])("%j is %j", (path, expected) => {
    expect(normalizePath(path)).toBe(expected)
  })

  it("tells names apart that are not UTF-8, and from those that are", () => {
    const name = fc
      .uint8Array({ minLength: 1, maxLength: 4 })
      .filter(bytes => !bytes.includes(0x2f) && !bytes.includes(0x2e))
    const located = (bytes: Uint8Array) => {
      const buffer = Buffer.from(bytes)
      const isText = Buffer.from(buffer.toString()).equals(buffer)
      const named = isText ? { path: buffer.toString() } : { pathBase64: buffer.toString("base64") }
      return pathInRoot({ ...named, type: "fifo", size: 0, mode: 0, uid: 0, gid: 0, mtime: 0 })
    }
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(located(a) === located(b)).toBe(Buffer.from(a).equals(b))
      }),
    )
  })
})

describe("the instruction of a layer", () => {
  const config = (history: object[], layers: number) =>
    parseImageConfig(
      json({
        os: "linux",
        architecture: "arm64",
        variant: "v8",
        rootfs: { type: "layers", diff_ids: Array.from({ length: layers }, (_, i) => digest(String(i))) },
        history,
      }),
    )
  it.each([
    ["/bin/sh -c #(nop) COPY file:abc in /app ", "COPY file:abc in /app"],
    ["/bin/sh -c #(nop)  ADD dir:abc in / ", "ADD dir:abc in /"],
    ["/bin/sh -c apt-get update && true", "RUN apt-get update && true"],
    ["|1 SOURCE_DATE_EPOCH=0 /bin/sh -c pip install x", "RUN pip install x"],
    ["RUN /bin/sh -c make # buildkit", "RUN make"],
    ["RUN |2 A=1 B=two words /bin/sh -c make # buildkit", "RUN make"],
    ["COPY . /app # buildkit", "COPY . /app"],
    ["/bin/bash -o pipefail -c make", "/bin/bash -o pipefail -c make"],
    ["", null],
  ])("%j is %j", (createdBy, expected) => {
    expect(historyInstructions(config([{ created_by: createdBy }], 1))).toEqual([expected])
  })

  it("skips history without a layer, and is unknown where the numbers differ", () => {
    const history = [{ created_by: "A" }, { created_by: "ENV", empty_layer: true }, { created_by: "B" }]
    expect(historyInstructions(config(history, 2))).toEqual(["A", "B"])
    expect(historyInstructions(config(history, 3))).toEqual([null, null, null])
    expect(historyInstructions(config([], 2))).toEqual([null, null])
  })
})

describe("a view", () => {
  const one = layer(archive(entry("f", { content: "x" })), "gzip")
  const configBytes = json(imageConfig([one]))
  const mediaType = "application/vnd.oci.image.config.v1+json"
  const descriptor = { mediaType, digest: digest(configBytes), size: configBytes.length }
  const manifestBytes = json(imageManifest([one], descriptor))

  it("joins manifest, config and inventories", async () => {
    const view = await buildImageView({ manifestBytes, configBytes, layers: [[]] })
    expect(view).toMatchObject({
      manifestDigest: digest(manifestBytes),
      configDigest: digest(configBytes),
      platform: "linux/amd64",
    })
  })

  it("is refused where they do not belong together", async () => {
    const other = json({ ...imageConfig([one]), os: "plan9" })
    expect(await refusalCode(buildImageView({ manifestBytes, configBytes: other, layers: [[]] }))).toBe(
      "inconsistent-bundle",
    )
    expect(await refusalCode(buildImageView({ manifestBytes, configBytes, layers: [] }))).toBe("inconsistent-bundle")
    const twoLayers = json(imageManifest([one, one], descriptor))
    expect(await refusalCode(buildImageView({ manifestBytes: twoLayers, configBytes, layers: [[], []] }))).toBe(
      "inconsistent-bundle",
    )
    expect(await refusalCode(buildImageView({ manifestBytes: Buffer.from("x"), configBytes, layers: [[]] }))).toBe(
      "malformed-image",
    )
  })
})

describe("Node's compression", () => {
  const inflate = (bytes: Uint8Array, max = 1000) => nodeCompression.inflateRaw(bytes, max)
  const hello = Buffer.from("hello ".repeat(20))

  it("goes there and back", async () => {
    expect(Buffer.from(await inflate(await nodeCompression.deflateRaw(hello))).equals(hello)).toBe(true)
    expect(await inflate(deflateRawSync(""), 0)).toHaveLength(0)
  })

  it("refuses what does not end exactly at the last byte", async () => {
    const packed = deflateRawSync(hello)
    for (const bytes of [
      Buffer.concat([packed, Buffer.of(0)]),
      Buffer.concat([packed, packed]),
      Buffer.concat([deflateRawSync(""), packed]),
      packed.subarray(0, -1),
      Buffer.alloc(0),
      gzipSync(hello),
    ]) {
      const error = await inflate(bytes).catch((cause: unknown) => cause)
      expect(error).toBeInstanceOf(Error)
      expect(error).not.toBeInstanceOf(RangeError)
    }
  })

  it("refuses to expand beyond the bound, by a RangeError", async () => {
    const packed = deflateRawSync(Buffer.alloc(10_000_000))
    await expect(inflate(packed, 9_999_999)).rejects.toBeInstanceOf(RangeError)
    await expect(inflate(deflateRawSync("x"), 0)).rejects.toBeInstanceOf(RangeError)
    expect(await inflate(packed, 10_000_000)).toHaveLength(10_000_000)
  })
})
