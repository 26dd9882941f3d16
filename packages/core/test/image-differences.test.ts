import {
  type ComparableImage,
  type Digest,
  type ImageView,
  type InventoryEntry,
  imageDifferences,
} from "@envidence/core"
import { describe, expect, it } from "vitest"

const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}`
const file = (path: string, fields: Partial<InventoryEntry> = {}): InventoryEntry => ({
  path,
  type: "file",
  size: 1,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: 0,
  sha256: "0".repeat(64),
  ...fields,
})

function image(
  letter: string,
  entries: readonly InventoryEntry[],
  config: ComparableImage["config"] = {},
): ComparableImage {
  const layer = {
    digest: digest(letter),
    diffId: digest(letter),
    mediaType: "",
    size: 1,
    instruction: "COPY . .",
    entries,
  }
  const view: ImageView = {
    manifestDigest: digest(letter),
    configDigest: digest(letter),
    platform: "linux/amd64",
    config: { user: "", labels: {}, env: [], entrypoint: [], cmd: [], workingDir: "" },
    layers: [layer],
  }
  return { view, config }
}

const causes = (first: readonly InventoryEntry[], second: readonly InventoryEntry[]) =>
  imageDifferences(image("a", first), image("b", second)).listed.map(({ path, cause }) => `${path} ${cause}`)

describe("the difference of two builds", () => {
  it("is none where the digests agree", () => {
    expect(imageDifferences(image("a", [file("x")]), image("a", [file("x")]))).toEqual({ listed: [], omitted: 0 })
  })

  it.each<[string, Partial<InventoryEntry>]>([
    ["mode", { mode: 0o755 }],
    ["owner", { uid: 1 }],
    ["mtime", { mtime: 1 }],
    ["link", { linkTarget: "y" }],
    ["xattrs", { xattrs: { "user.a": "AA==" } }],
    ["content", { sha256: "1".repeat(64) }],
    ["type", { type: "symlink", mode: 0o777, linkTarget: "y" }],
  ])("names %s", (cause, fields) => {
    expect(causes([file("x")], [file("x", fields)])).toEqual([`x ${cause}`])
  })

  it("names entries that only one has", () => {
    expect(causes([file("x"), file("y")], [file("x"), file("z")])).toEqual(["y only-in-first", "z only-in-second"])
  })

  it("names the order, and a path that stands twice", () => {
    expect(causes([file("x"), file("y")], [file("y"), file("x")])).toEqual(["x order"])
    expect(causes([file("x"), file("x")], [file("x"), file("x", { mode: 0 })])).toEqual(["x mode"])
  })

  it("never says nothing where the archives differ", () => {
    expect(causes([file("x")], [file("x")])).toEqual([" content"])
  })

  it("keeps names apart that are not UTF-8", () => {
    const raw = ({ path: _, ...rest }: InventoryEntry): InventoryEntry => ({ ...rest, pathBase64: "eA==" })
    expect(causes([raw(file("x"))], [raw(file("x", { mode: 0 }))])).toEqual(["base64 eA== mode"])
  })

  it("says layer, instruction and both values", () => {
    const { listed } = imageDifferences(image("a", [file("x")]), image("b", [file("x", { mtime: 7 })]))
    expect(listed).toEqual([{ layer: 0, path: "x", cause: "mtime", first: "0", second: "7", instruction: "COPY . ." }])
  })

  it("compares the configs by pointer, less the layers' own digests", () => {
    const [first, second] = [
      image("a", [file("x")], { created: "1", rootfs: { diff_ids: ["1"] }, history: [{ created_by: "a" }] }),
      image("b", [file("x", { mtime: 1 })], {
        created: "2",
        rootfs: { diff_ids: ["2"] },
        history: [{ created_by: "b" }],
      }),
    ]
    const rows = imageDifferences(first, second).listed.filter(({ cause }) => cause === "config")
    expect(rows.map(({ path }) => path)).toEqual(["/created", "/history/0/created_by"])
  })

  it("is bounded, and counts what it leaves out", () => {
    const many = (mtime: number) => Array.from({ length: 250 }, (_, i) => file(`f${i}`, { mtime }))
    const { listed, omitted } = imageDifferences(image("a", many(0)), image("b", many(1)))
    expect([listed.length, omitted]).toEqual([200, 50])
  })

  it("reports another number of layers", () => {
    const first = image("a", [file("x")])
    const second = { ...first, view: { ...first.view, manifestDigest: digest("b"), layers: [] } }
    expect(imageDifferences(first, second).listed[0]).toMatchObject({ cause: "layer-count", first: "1", second: "0" })
  })
})
