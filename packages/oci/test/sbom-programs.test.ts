// What Go's linker and cargo-auditable write into programs, found while a layer streams by.
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Readable } from "node:stream"
import { deflateSync } from "node:zlib"
import { buildSbom, packageDatabaseBytes, readLayer, type Sbom } from "@envidence/oci"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type ElfOptions, elf, goBuildInfo, type Section } from "./elf-writer.js"
import { layer, temporaryFolder } from "./layers.js"
import { manifestDigest, needs, parsed, problems, sbomOf, tool } from "./sbom-of.js"
import { archive, entry } from "./tar-writer.js"

const purls = (sbom: Sbom) => sbom.components.map(({ purl }) => purl)
const program = (...sections: Section[]) => archive(entry("usr/bin/x", { content: elf(sections), mode: 0o755 }))

const sum = `h1:${"A".repeat(43)}=`
const modules = [
  "path\texample.com/cmd/x",
  "mod\texample.com/App\t(devel)\t",
  `dep\tgithub.com/Azure/sdk\tv1.2.3\t${sum}`,
  "dep\texample.com/old\tv0.1.0\t",
  `=>\texample.com/fork\tv0.2.0+incompatible\t${sum}`,
  "build\t-compiler=gc",
  "",
].join("\n")
const info = goBuildInfo("go1.24.1", modules)
const goSection: Section = { name: ".go.buildinfo", content: info, segment: "writable" }
const code: Section = { name: ".text", content: Buffer.alloc(5000, 0x90), segment: "code" }
const debug: Section = { name: ".debug_info", content: Buffer.alloc(5000, 1) }

const crates = {
  packages: [
    { name: "app", version: "0.1.0", source: "local", dependencies: [1, 2, 3], root: true },
    { name: "serde", version: "1.0.219", source: "crates.io", dependencies: [2] },
    { name: "serde", version: "0.9.0", source: "crates.io" },
    { name: "cc", version: "1.2.0", source: "crates.io", kind: "build" },
  ],
}
const auditable = (value: unknown) => deflateSync(typeof value === "string" ? value : JSON.stringify(value))
const crateSection: Section = { name: ".dep-v0", content: auditable(crates), segment: "read-only" }

const GO = [
  "pkg:golang/example.com/app",
  "pkg:golang/example.com/fork@v0.2.0+incompatible",
  "pkg:golang/github.com/azure/sdk@v1.2.3",
  "pkg:golang/stdlib@1.24.1",
]
const CARGO = ["pkg:cargo/app@0.1.0", "pkg:cargo/serde@0.9.0", "pkg:cargo/serde@1.0.219"]

describe("a Go program", () => {
  it("names its modules, what replaced one, their sums and the standard library", async () => {
    const sbom = await sbomOf(program(code, goSection, debug))
    expect([sbom.unreadable, problems(sbom), purls(sbom)]).toEqual([[], null, GO])
    expect(needs(sbom)).toEqual({
      "example.com/App -": ["example.com/fork v0.2.0+incompatible", "github.com/Azure/sdk v1.2.3", "stdlib 1.24.1"],
    })
    const [main, fork] = parsed(sbom).components ?? []
    expect(main?.version).toBeUndefined()
    // A hash of hashes is no hash of the component.
    expect([fork?.hashes, fork?.properties]).toEqual([
      undefined,
      expect.arrayContaining([{ name: "envidence:go:sum", value: sum }]),
    ])
  })

  const shapes: [string, ElfOptions][] = [
    ["of 32 bits", { wide: false }],
    ["of big endian", { bigEndian: true }],
    ["of 32 bits and big endian", { wide: false, bigEndian: true }],
    ["that is no library", { type: 2 }],
    ["without a table of sections", { withoutSectionTable: true }],
    ["without program headers", { withoutProgramHeaders: true }],
  ]
  it.each(shapes)("%s", async (_, options) => {
    const content = elf([code, goSection, debug], options)
    expect(purls(await sbomOf(archive(entry("x", { content }))))).toEqual(GO)
  })

  it("built by the Go that is here", async ({ skip }) => {
    const { status: version } = spawnSync("go", ["version"])
    if (version !== 0) skip("there is no Go")
    const folder = temporaryFolder()
    writeFileSync(join(folder, "go.mod"), "module example.com/made\n\ngo 1.21\n")
    writeFileSync(join(folder, "main.go"), "package main\n\nfunc main() {}\n")
    for (const [name, flags] of [
      ["plain", "-w=false"],
      ["stripped", "-s -w"],
    ] as const) {
      const args = ["build", "-buildvcs=false", `-ldflags=${flags}`, "-o", name, "."]
      const { status, stderr } = spawnSync("go", args, { cwd: folder, encoding: "utf8" })
      expect([status, stderr]).toEqual([0, ""])
      const sbom = await sbomOf(archive(entry("x", { content: readFileSync(join(folder, name)) })))
      expect(sbom.unreadable).toEqual([])
      expect(sbom.components.map(component => component.name)).toEqual(["example.com/made", "stdlib"])
      expect(sbom.components[1]?.version).toMatch(/^1\.\d+/)
    }
  })

  it("that only looks for the mark, as Go's own tools do, is none", async () => {
    const content = Buffer.concat([Buffer.from("\xff Go buildinf:", "latin1"), Buffer.alloc(50, 0xff)])
    const sbom = await sbomOf(program(code, { name: ".rodata", content, segment: "read-only" }))
    expect([sbom.components, sbom.unreadable]).toEqual([[], []])
  })

  const broken: [string, Buffer, RegExp][] = [
    ["of before Go 1.18", goBuildInfo("go1.17", modules, 0), /before Go 1\.18/],
    ["whose information breaks off", info.subarray(0, 60), /breaks off/],
    ["whose lengths have no end", Buffer.concat([info.subarray(0, 32), Buffer.alloc(64, 0xff)]), /without end/],
    ["with another mark", Buffer.alloc(64, 1), /start with its mark/],
    ["of no version", goBuildInfo("gone", modules), /no Go version/],
    ["with a module without a path", goBuildInfo("go1.24", "dep\t\tv1\n"), /module's path/],
  ]
  it.each(broken)("%s is told", async (_, content, because) => {
    const sbom = await sbomOf(program(code, { ...goSection, content }, debug))
    expect(sbom.components).toEqual([])
    expect(sbom.unreadable).toEqual([{ path: "usr/bin/x", layer: 0, because: expect.stringMatching(because) }])
  })
})

describe("a program of cargo-auditable", () => {
  it("names its crates, without those that only built it", async () => {
    const sbom = await sbomOf(program({ ...code, segment: "read-only" }, crateSection, code, debug))
    expect([sbom.unreadable, problems(sbom), purls(sbom)]).toEqual([[], null, CARGO])
    expect(needs(sbom)).toEqual({ "app 0.1.0": ["serde 0.9.0", "serde 1.0.219"], "serde 1.0.219": ["serde 0.9.0"] })
    expect(parsed(sbom).components?.[0]?.properties).toEqual(
      expect.arrayContaining([
        { name: "envidence:cargo:source", value: "local" },
        { name: "envidence:cargo:root", value: "true" },
      ]),
    )
  })

  it("has them beside its code where an older linker put them there", async () => {
    expect(purls(await sbomOf(program({ ...crateSection, segment: "code" }, goSection)))).toEqual([...CARGO, ...GO])
  })

  it("of rustc's linker", async ({ skip }) => {
    const folder = temporaryFolder()
    const bytes = auditable(crates)
    const source = `#[link_section = ".dep-v0"]\n#[used]\nstatic A: [u8; ${bytes.length}] = [${[...bytes]}];\nfn main() {}\n`
    writeFileSync(join(folder, "a.rs"), source)
    if (spawnSync("rustc", ["--version"]).status !== 0) skip("there is no rustc")
    const { status } = spawnSync("rustc", ["-O", "a.rs"], { cwd: folder })
    if (status !== 0) skip("rustc cannot link here")
    expect(purls(await sbomOf(archive(entry("x", { content: readFileSync(join(folder, "a")) }))))).toEqual(CARGO)
  })

  const broken: [string, Section, RegExp][] = [
    ["that is not compressed", { ...crateSection, content: Buffer.from("{}") }, /not compressed/],
    ["that is no JSON", { ...crateSection, content: auditable("{") }, /JSON/],
    ["without packages", { ...crateSection, content: auditable({}) }, /no packages/],
    ["with a crate that is none", { ...crateSection, content: auditable({ packages: [1] }) }, /not an object/],
    [
      "with a crate without a version",
      { ...crateSection, content: auditable({ packages: [{ name: "a" }] }) },
      /version of a/,
    ],
    ["that expands without end", { ...crateSection, content: deflateSync(Buffer.alloc(9_000_000)) }, /too large/],
    ["in no segment", { name: ".dep-v0", content: auditable(crates) }, /beyond the part/],
    ["too large to be one", { ...crateSection, content: Buffer.alloc(4_194_305) }, /beyond the part/],
  ]
  it.each(broken)("with a list %s is told", async (_, section, because) => {
    const sbom = await sbomOf(program(code, section, { ...debug, segment: "read-only" }))
    expect(sbom.components).toEqual([])
    expect(sbom.unreadable).toEqual([{ path: "usr/bin/x", layer: 0, because: expect.stringMatching(because) }])
  })

  it("that hides its section among a great many mentions is told", async () => {
    const content = Buffer.from(".dep-v0\0".repeat(2000))
    const sbom = await sbomOf(program(code, crateSection, { name: ".debug_str", content }))
    expect(sbom.unreadable).toEqual([
      { path: "usr/bin/x", layer: 0, because: expect.stringMatching(/beyond the part/) },
    ])
  })

  it("whose list lies beyond what is kept is told", async () => {
    const before: Section = { name: ".rodata", content: Buffer.alloc(33_554_432), segment: "read-only" }
    const sbom = await sbomOf(program(before, crateSection))
    expect(sbom.components).toEqual([])
    expect(sbom.unreadable).toEqual([
      { path: "usr/bin/x", layer: 0, because: expect.stringMatching(/beyond the part/) },
    ])
  })
})

describe("files that are no such program", () => {
  const none: [string, Buffer][] = [
    ["an object file", elf([crateSection, goSection], { type: 1 })],
    ["debugging information taken from a program", elf([{ ...crateSection, type: 8 }, code])],
    ["a short file", Buffer.from("\x7fELF")],
    ["a file that starts like one", Buffer.concat([Buffer.from("\x7fELG"), elf([crateSection]).subarray(4)])],
    [
      "a program that mentions the sections",
      elf([code, { name: ".debug_str", content: Buffer.from("\0.dep-v0\0.go.buildinfo\0") }]),
    ],
  ]
  it.each(none)("%s", async (_, content) => {
    const sbom = await sbomOf(archive(entry("x", { content })))
    expect([sbom.components, sbom.unreadable]).toEqual([[], []])
  })

  it("is not looked into unless asked to", async () => {
    const { source, blob } = layer(program(goSection))
    const { embedded } = await readLayer(Readable.from([blob], { objectMode: false }), source)
    expect(embedded.size).toBe(0)
  })
})

describe("while it streams by", () => {
  it("is the same in pieces of any size", async () => {
    const { source, blob } = layer(program({ ...code, segment: "read-only" }, crateSection, code, goSection, debug))
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), async size => {
        const pieces = Array.from({ length: Math.ceil(blob.length / size) }, (_, i) =>
          blob.subarray(i * size, (i + 1) * size),
        )
        const options = { wants: packageDatabaseBytes, programs: true }
        const inventory = await readLayer(Readable.from(pieces, { objectMode: false }), source, options)
        expect(purls(buildSbom({ manifestDigest, layers: [inventory], platform: "linux/amd64", tool }))).toEqual([
          ...CARGO,
          ...GO,
        ])
      }),
      { numRuns: 40 },
    )
  })

  it("any byte changed gives packages, a finding or nothing, never an error", async () => {
    const content = elf([code, crateSection, goSection, debug])
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(399), fc.nat(255)), { minLength: 1, maxLength: 6 }), async changes => {
        const changed = Buffer.from(content)
        for (const [at, value] of changes) changed[at] = value
        expect(problems(await sbomOf(archive(entry("x", { content: changed }))))).toBeNull()
      }),
      { numRuns: 200 },
    )
  })

  it("has at most so much of all programs of a layer", async () => {
    const { source, blob } = layer(
      archive(...["a", "b", "c"].map(name => entry(name, { content: elf([goSection, debug]) }))),
    )
    const limits = { wantedBytes: info.length * 2 }
    const inventory = await readLayer(Readable.from([blob], { objectMode: false }), source, { programs: true, limits })
    expect([...inventory.embedded.values()].map(({ because }) => because !== undefined)).toEqual([false, false, true])
  })
})
