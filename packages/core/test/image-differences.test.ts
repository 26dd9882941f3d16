import {
  type ComparableImage,
  causeOfContent,
  type Digest,
  type ImageView,
  type InventoryEntry,
  imageDifferences,
  type Json,
  renderDifferenceTree,
} from "@envidence/core"
import fc from "fast-check"
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

function image(letter: string, entries: readonly InventoryEntry[], config: Json = {}): ComparableImage {
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
  return { view, config, manifest: {} }
}

const causes = (first: readonly InventoryEntry[], second: readonly InventoryEntry[]) =>
  imageDifferences(image("a", first), image("b", second)).differences.map(({ path, cause }) => `${path} ${cause}`)

describe("the difference of two builds", () => {
  it("is none where the digests agree", () => {
    expect(imageDifferences(image("a", [file("x")]), image("a", [file("x")]))).toEqual({
      ...{ differences: [], omitted: 0, causes: [], layers: [] },
    })
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
    expect(causes([file("x")], [file("x")])).toEqual([" framing"])
  })

  it("keeps names apart that are not UTF-8", () => {
    const raw = ({ path: _, ...rest }: InventoryEntry): InventoryEntry => ({ ...rest, pathBase64: "eA==" })
    expect(causes([raw(file("x"))], [raw(file("x", { mode: 0 }))])).toEqual(["base64 eA== mode"])
  })

  it("says layer, instruction and both values", () => {
    const { differences, layers } = imageDifferences(image("a", [file("x")]), image("b", [file("x", { mtime: 7 })]))
    expect(differences).toEqual([
      { layer: 0, path: "x", cause: "mtime", first: "0", second: "7", instruction: "COPY . .", consequence: false },
    ])
    expect(layers).toEqual([expect.objectContaining({ layer: 0, instruction: "COPY . .", differences: 1 })])
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
    const rows = imageDifferences(first, second).differences.filter(({ layer }) => layer === null)
    expect(rows.map(({ path, cause }) => [path, cause])).toEqual([
      ["/history/0/created_by", "config"],
      ["/created", "created-time"],
    ])
  })

  it("is bounded, and counts what it leaves out", () => {
    const many = (mtime: number) => Array.from({ length: 250 }, (_, i) => file(`f${i}`, { mtime }))
    const { differences, omitted, causes } = imageDifferences(image("a", many(0)), image("b", many(1)))
    expect([differences.length, omitted]).toEqual([200, 50])
    expect(causes).toEqual([{ cause: "mtime", count: 250, layers: [0], consequence: false }])
  })

  it("lists the one of its cause among ten thousand of another, and counts both exactly", () => {
    const many = (mtime: number) => Array.from({ length: 10_000 }, (_, i) => file(`f${i}`, { mtime }))
    const [first, second] = [image("a", [...many(0), file("z")]), image("b", [...many(1), file("z", { mode: 0 })])]
    const { differences, causes, layers } = imageDifferences(first, second)
    expect(differences.at(-1)).toMatchObject({ path: "z", cause: "mode" })
    expect(causes.map(({ cause, count }) => [cause, count])).toEqual([
      ["mtime", 10_000],
      ["mode", 1],
    ])
    expect(layers[0]?.differences).toBe(10_001)
  })

  it("reports another number of layers", () => {
    const first = image("a", [file("x")])
    const second = { ...first, view: { ...first.view, manifestDigest: digest("b"), layers: [] } }
    expect(imageDifferences(first, second).differences[0]).toMatchObject({
      cause: "layer-count",
      first: "1",
      second: "0",
    })
  })
})

const text = (content: string) => new TextEncoder().encode(content)
const bytecode = (mtime: number, code = "code", flags = 0) => {
  const bytes = Buffer.concat([Buffer.from("cb0d0d0a", "hex"), Buffer.alloc(12), Buffer.from(code)])
  bytes.writeUInt32LE(flags, 4)
  bytes.writeUInt32LE(mtime, 8)
  return bytes
}
const gzip = (mtime: number, data = "packed data") => {
  const bytes = Buffer.concat([Buffer.from("1f8b0800000000000003", "hex"), Buffer.from(data)])
  bytes.writeUInt32LE(mtime, 4)
  return bytes
}

/** The causes of one file with another content in each build. */
function causesOfContents(path: string, first: Uint8Array, second: Uint8Array): string[] {
  const [left, right] = [file(path, { sha256: "a".repeat(64) }), file(path, { sha256: "b".repeat(64) })]
  const causeOf = (layer: number, entry: number) =>
    layer === 0 && entry === 0 ? causeOfContent(path, first, second) : undefined
  const { causes } = imageDifferences(image("a", [left]), image("b", [right]), { causeOf })
  return causes.map(({ cause }) => cause)
}

describe("the cause of another content", () => {
  it.each<[string, string, Uint8Array, Uint8Array]>([
    ["pyc-header", "app/__pycache__/x.cpython-312.pyc", bytecode(1), bytecode(2)],
    ["content", "app/x.pyc", bytecode(1, "code"), bytecode(2, "CODE")],
    ["content", "app/x.pyc", bytecode(1, "code", 1), bytecode(2, "code", 1)],
    ["gzip-header", "usr/share/doc/x.gz", gzip(1), gzip(2)],
    ["content", "usr/share/doc/x.gz", gzip(1), gzip(2, "other  data")],
    [
      "embedded-time",
      "app/build",
      text("on 2026-01-02 03:04:05.123456789+00:00"),
      text("on 2026-01-02 03:05:59+00:00"),
    ],
    ["embedded-time", "app/build", text("Fri Jan  2 03:04:05 UTC 2026"), text("Fri Jan  2 03:04:59 UTC 2026")],
    ["embedded-time", "app/build", text('{"at":1767312245}'), text('{"at":1767312299}')],
    [
      "random-name",
      "app/id",
      text("11111111-2222-3333-4444-555555555555"),
      text("21111111-2222-3333-4444-555555555555"),
    ],
    ["content", "app/version", text("1.2.3"), text("1.2.4")],
    ["ldconfig-cache", "var/cache/ldconfig/aux-cache", text("a"), text("b")],
    ["log", "var/log/apt/history.log", text("2026-01-02"), text("2026-01-03")],
    ["package-lists", "var/lib/apt/lists/x_InRelease", text("a"), text("b")],
    ["package-lists", "var/lib/dpkg/status-old", text("a"), text("b")],
    ["package-lists", "lib/apk/db/scripts.tar", text("a"), text("b")],
    ["temporary", "tmp/x", text("a"), text("b")],
    ["tool-history", "root/.wget-hsts", text("a"), text("b")],
    ["pip-record", "venv/lib/x-1.dist-info/RECORD", text("a"), text("b")],
    ["cache", "root/.cache/pip/x", text("a"), text("b")],
    ["machine-id", "etc/machine-id", text("a"), text("b")],
  ])("%s: %s", (cause, path, first, second) => {
    expect(causesOfContents(path, first, second)).toEqual([cause])
  })

  it("is content where the files were too large to be read", () => {
    expect(causes([file("x.pyc")], [file("x.pyc", { sha256: "1".repeat(64) })])).toEqual(["x.pyc content"])
  })

  it("is a key where both are keys, whose bytes are not looked at", () => {
    const key = (sha256: string) => file("app/tls.key", { content: "private-key", sha256: sha256.repeat(64) })
    expect(causes([key("1")], [key("2")])).toEqual(["app/tls.key private-key"])
  })

  it("names what only one build has by where it lies", () => {
    expect(causes([file("tmp/a"), file("x/.wh.y"), file("z")], [])).toEqual([
      "tmp/a temporary",
      "x/.wh.y whiteout",
      "z only-in-first",
    ])
  })
})

describe("the difference of two builds in their documents", () => {
  const base = [{ created_by: "ADD x in /" }, { created_by: "RUN y", comment: "FROM docker.io/library/debian:12" }]

  it("is the base's where the history says that the layer came with it", () => {
    expect(
      imageDifferences(
        image("a", [file("x")], { history: base }),
        image("b", [file("y")], { history: base }),
      ).differences.map(({ cause, layer }) => [cause, layer]),
    ).toEqual([["base-image", 0]])
    const stages = [{ created_by: "ADD x in /" }, { created_by: "RUN y", comment: "FROM 0123456789ab" }]
    const own = imageDifferences(image("a", [file("x")], { history: stages }), image("b", [], { history: stages }))
    expect(own.causes.map(({ cause }) => cause)).toEqual(["only-in-first"])
  })

  const named = (id: string) => ({
    history: [{ created_by: `COPY dir:${id.repeat(64)} in /`, comment: `FROM ${id.repeat(12)}` }],
  })

  it("follows from the others where it is a step's name, and comes last", () => {
    const { differences, causes } = imageDifferences(
      image("a", [file("x")], { created: "1", ...named("a") }),
      image("b", [file("x", { mtime: 1 })], { created: "2", ...named("b") }),
    )
    expect(differences.map(({ cause, consequence }) => [cause, consequence])).toEqual([
      ["mtime", false],
      ["created-time", true],
      ["history-name", true],
      ["history-name", true],
    ])
    expect(causes.map(({ cause, count, consequence }) => [cause, count, consequence])).toEqual([
      ["mtime", 1, false],
      ["history-name", 2, true],
      ["created-time", 1, true],
    ])
  })

  it("is the cause where nothing else differs", () => {
    const same = image("a", [file("x")], { created: "1" })
    const other = { ...same, config: { created: "2" }, view: { ...same.view, manifestDigest: digest("b") } }
    expect(imageDifferences(same, other).causes).toEqual([
      { cause: "created-time", count: 1, layers: [], consequence: false },
    ])
  })

  it("follows from the others where buildah's annotation names the step before", () => {
    const named = (digit: string) => ({ annotations: { "org.opencontainers.image.base.digest": digit } })
    const { differences } = imageDifferences(
      { ...image("a", [file("x")]), manifest: named("1") },
      { ...image("b", [file("x", { mtime: 1 })]), manifest: named("2") },
    )
    expect(differences.map(({ cause, consequence }) => [cause, consequence])).toEqual([
      ["mtime", false],
      ["history-name", true],
    ])
  })

  it("is compression alone where the layers' contents agree", () => {
    const first = image("a", [file("x")])
    const layers = first.view.layers.map(layer => ({ ...layer, digest: digest("c") }))
    const second = { ...first, view: { ...first.view, manifestDigest: digest("b"), layers } }
    expect(imageDifferences(first, second).causes.map(({ cause }) => cause)).toEqual(["compression"])
  })

  it("is the manifest's own where only that differs", () => {
    const first = image("a", [file("x")])
    const second = {
      ...first,
      view: { ...first.view, manifestDigest: digest("b") },
      manifest: { annotations: { a: "1" }, config: { digest: "x" } },
    }
    const manifest = { annotations: { a: "2" }, config: { digest: "y" } }
    expect(imageDifferences({ ...first, manifest }, second).differences).toEqual([
      expect.objectContaining({ path: "/annotations/a", cause: "manifest", layer: null }),
    ])
  })
})

const entries = fc.uniqueArray(
  fc.record({
    path: fc.stringMatching(/^[a-z]{1,6}(\/[a-z]{1,6}){0,2}$/),
    mode: fc.nat(0o777),
    uid: fc.nat(9),
    mtime: fc.nat(9),
  }),
  { selector: ({ path }) => path, minLength: 2, maxLength: 20 },
)

type Injection = (entry: InventoryEntry) => InventoryEntry
const injections: Readonly<Record<string, Injection>> = {
  mtime: entry => ({ ...entry, mtime: entry.mtime + 1 }),
  mode: entry => ({ ...entry, mode: entry.mode ^ 1 }),
  owner: entry => ({ ...entry, gid: entry.gid + 1 }),
  xattrs: entry => ({ ...entry, xattrs: { "security.capability": "AA==" } }),
  content: entry => ({ ...entry, sha256: "f".repeat(64) }),
  link: entry => ({ ...entry, linkTarget: "elsewhere" }),
  type: entry => ({ ...entry, type: "directory" }),
}

describe("any two builds", () => {
  it("have no differences where they are one", () => {
    fc.assert(
      fc.property(entries, list => {
        const one = image(
          "a",
          list.map(({ path, ...fields }) => file(path, fields)),
        )
        expect(imageDifferences(one, one)).toEqual({ differences: [], omitted: 0, causes: [], layers: [] })
      }),
    )
  })

  it.each(Object.entries(injections))("show an injected %s, where it is, and nothing else", (cause, inject) => {
    fc.assert(
      fc.property(entries, fc.nat(), (list, chosen) => {
        const first = list.map(({ path, ...fields }) => file(`app/${path}`, fields))
        const at = chosen % first.length
        const second = first.map((entry, index) => (index === at ? inject(entry) : entry))
        const { differences, causes } = imageDifferences(image("a", first), image("b", second))
        expect(differences.map(each => [each.path, each.cause])).toEqual([[first[at]?.path, cause]])
        expect(causes).toEqual([{ cause, count: 1, layers: [0], consequence: false }])
      }),
    )
  })

  it("show a removed entry and another order", () => {
    fc.assert(
      fc.property(entries, fc.nat(), (list, chosen) => {
        const first = list.map(({ path, ...fields }) => file(`app/${path}`, fields))
        const at = chosen % first.length
        expect(causes(first, first.toSpliced(at, 1))).toEqual([`${first[at]?.path} only-in-first`])
        expect(causes(first.toSpliced(at, 1), first)).toEqual([`${first[at]?.path} only-in-second`])
        expect(causes(first, first.toReversed())).toEqual([`${first[0]?.path} order`])
      }),
    )
  })

  it("count every difference, listed or not", () => {
    fc.assert(
      fc.property(entries, entries, fc.integer({ min: 1, max: 8 }), (left, right, limit) => {
        const [first, second] = [left, right].map(list => list.map(({ path, ...fields }) => file(path, fields)))
        const { differences, omitted, causes, layers } = imageDifferences(
          image("a", first ?? []),
          image("b", second ?? []),
          { limit },
        )
        const total = causes.reduce((sum, { count }) => sum + count, 0)
        expect(differences.length).toBeLessThanOrEqual(limit)
        expect(differences.length + omitted).toBe(total)
        expect(layers.reduce((sum, each) => sum + each.differences, 0)).toBe(total)
      }),
    )
  })
})

describe("the tree of differences", () => {
  const facts = (first: ComparableImage, second: ComparableImage) => ({
    ...{ engine: { name: "podman", version: "5" }, flags: [], sourceDateEpoch: 0, network: "none" as const },
    builds: [first, second].map(({ view }) => ({
      ...{ manifestDigest: view.manifestDigest, configDigest: view.configDigest, diffIds: [], seconds: 1 },
    })),
    ...imageDifferences(first, second),
  })

  it("is empty where nothing differs", () => {
    expect(renderDifferenceTree(facts(image("a", []), image("a", [])))).toBe("")
  })

  it("leads from the manifest to the entry, and shows no name as it is", () => {
    const [first, second] = [image("a", [file("x\u001b[2J")]), image("b", [file("x\u001b[2J", { mtime: 7 })], { a: 1 })]
    const short = (line: string) => line.replace(/([0-9a-f])\1{63}/g, "$1…")
    expect(renderDifferenceTree(facts(first, second)).split("\n").map(short)).toEqual([
      "manifest  sha256:a…  |  sha256:b…",
      "├─ config  sha256:a…  |  sha256:b…",
      "│  └─ /a  config  (absent)  |  1",
      "└─ layer 0  sha256:a…  |  sha256:b…  COPY . .",
      "   └─ x\\u{1b}[2J  mtime  0  |  7",
      "",
    ])
  })
})
