import { compareBytewise, criteria, type StaticEvidence } from "@envidence/core"
import type { Sbom } from "@envidence/oci"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { digest } from "./layers.js"
import { manifestDigest, problems, sbomOf, tool, validate } from "./sbom-of.js"
import { archive, entry } from "./tar-writer.js"

const stanza = (name: string, version: string, extra = "") =>
  `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: M <m@example.org>\n` +
  `Version: ${version}\n${extra}Description: short\n long: text\n .\n`
const dpkg = (...stanzas: string[]) => entry("var/lib/dpkg/status", { content: stanzas.join("\n") })
const osRelease = entry("usr/lib/os-release", {
  content: 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
})
const site = "opt/venv/lib/python3.11/site-packages"
const metadata = (name: string, version: string, extra = "") =>
  `Metadata-Version: 2.4\nName: ${name}\nVersion: ${version}\n${extra}\nThe text.\nName: not this\n`
const distribution = (name: string, version: string, extra = "") =>
  entry(`${site}/${name}-${version}.dist-info/METADATA`, { content: metadata(name, version, extra) })

const unreadableBy = (bytes: Uint8Array) => {
  const evidence = { sbom: { bytes, digest: digest("an SBOM") } } as StaticEvidence
  return (criteria.get("signature-and-sbom")?.inspect?.(evidence) as { unreadable: unknown } | undefined)?.unreadable
}

const names = (sbom: Sbom) => sbom.components.map(({ name, version, layer }) => `${name} ${version} ${layer}`)

describe("components", () => {
  it("are Debian packages with distribution, architecture and source", async () => {
    const tar = archive(
      osRelease,
      entry("etc/os-release", { type: "2", linkName: "../usr/lib/os-release" }),
      dpkg(
        stanza("libc6", "2.36-9+deb12u4", "Source: glibc\n"),
        stanza("gcc-12-base", "1:12.2.0-14", "Source: gcc-12 (12.2.0-14)\n"),
        stanza("gone", "1").replace("install ok installed", "deinstall ok config-files"),
      ),
    )
    const sbom = await sbomOf(tar)
    expect(sbom.components.map(({ purl }) => purl)).toEqual([
      "pkg:deb/debian/gcc-12-base@1:12.2.0-14?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
      "pkg:deb/debian/libc6@2.36-9+deb12u4?arch=amd64&distro=debian-12&upstream=glibc",
    ])
    expect([sbom.byType, sbom.unreadable]).toEqual([{ deb: 2 }, []])
  })

  it("are Debian packages of distroless images, one file each", async () => {
    const tar = archive(
      entry("var/lib/dpkg/status.d/base", { content: "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n" }),
      entry("var/lib/dpkg/status.d/base.md5sums", { content: "abc  etc/x\n" }),
    )
    expect(names(await sbomOf(tar))).toEqual(["base-files 12.4 0"])
  })

  it("are Python distributions and eggs", async () => {
    const tar = archive(
      distribution("Foo.Bar_baz", "1.0"),
      entry("usr/lib/python3/dist-packages/six-1.16.0.egg-info", { content: metadata("six", "1.16.0") }),
      entry("usr/lib/python3/dist-packages/old.egg-info/PKG-INFO", { content: metadata("old", "0.1") }),
    )
    const sbom = await sbomOf(tar)
    expect(sbom.components.map(({ purl }) => purl)).toEqual([
      "pkg:pypi/foo-bar-baz@1.0",
      "pkg:pypi/old@0.1",
      "pkg:pypi/six@1.16.0",
    ])
  })

  it("name the layer that brought them, also where a later one rewrote the database", async () => {
    const sbom = await sbomOf(
      archive(dpkg(stanza("a", "1"), stanza("b", "1"))),
      archive(distribution("p", "1")),
      archive(dpkg(stanza("a", "1"), stanza("b", "2"), stanza("c", "1"))),
    )
    expect(names(sbom)).toEqual(["a 1 0", "b 2 2", "c 1 2", "p 1 1"])
  })

  it("carry layer, diffID and path as properties, and their licences", async () => {
    const sbom = await sbomOf(
      archive(
        distribution("a", "1", "License-Expression: MIT OR Apache-2.0\nLicense: ignored\n"),
        distribution("b", "1", "License: mit\n"),
        distribution(
          "c",
          "1",
          "Classifier: License :: OSI Approved :: Apache Software License\nClassifier: License :: OSI Approved :: BSD License\n",
        ),
        distribution("d", "1", "License: UNKNOWN\n"),
        distribution("e", "1", "License: Some words AND\n  the whole text\n"),
      ),
    )
    const { components } = JSON.parse(Buffer.from(sbom.bytes).toString())
    expect(components.map((component: { licenses?: unknown }) => component.licenses)).toEqual([
      [{ expression: "MIT OR Apache-2.0" }],
      [{ license: { id: "MIT" } }],
      [{ license: { name: "BSD License" } }, { license: { id: "Apache-2.0" } }],
      undefined,
      [{ license: { name: "Some words AND" } }],
    ])
    expect(components[0].properties).toContainEqual({ name: "envidence:path", value: `${site}/a-1.dist-info/METADATA` })
    expect(components[0].properties).toContainEqual({ name: "envidence:layer:index", value: "0" })
    expect(components[0].properties).toContainEqual({
      name: "envidence:layer:diffId",
      value: expect.stringMatching(/^sha256:/),
    })
  })

  it("have the licences of a machine-readable copyright file, also through a linked folder", async () => {
    const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
    const sbom = await sbomOf(
      archive(
        dpkg(stanza("a", "1"), stanza("b", "1"), stanza("c", "1")),
        entry("usr/share/doc/a/copyright", {
          content: `${format}Files: *\nLicense: GPL-2+\n text\n\nFiles: x\nLicense: Expat\n\nLicense: GPL-2+\n text\n\nLicense: custom words\n`,
        }),
        entry("usr/share/doc/b", { type: "2", linkName: "a" }),
        entry("usr/share/doc/c/copyright", { content: "License: all words, in prose\n" }),
      ),
    )
    const { components } = JSON.parse(Buffer.from(sbom.bytes).toString())
    const expected = [
      { license: { name: "custom words" } },
      { license: { id: "GPL-2.0-or-later" } },
      { license: { id: "MIT" } },
    ]
    expect(components.map((component: { licenses?: unknown }) => component.licenses)).toEqual([
      expect.arrayContaining(expected),
      expect.arrayContaining(expected),
      undefined,
    ])
    expect(problems(sbom)).toBeNull()
  })

  it("have no expression that is none", async () => {
    const texts = ["(MIT AND ISC", "MIT AND AND ISC", "MIT OR Unheard-Of", "GPL-2.0-only WITH Classpath-exception-2.0"]
    const sbom = await sbomOf(
      archive(...texts.map((text, i) => distribution(`p${i}`, "1", `License-Expression: ${text}\n`))),
    )
    const { components } = JSON.parse(Buffer.from(sbom.bytes).toString())
    expect(components.map(({ licenses: [first] }: { licenses: object[] }) => first && Object.keys(first)[0])).toEqual([
      "license",
      "license",
      "license",
      "expression",
    ])
  })
})

describe("the root file system that all layers make", () => {
  const base = archive(entry(`${site}/`, { type: "5" }), distribution("a", "1"), distribution("b", "1"))
  const folder = (name: string) => `${site}/${name}-1.dist-info`

  it("loses what a whiteout names", async () => {
    const removed = archive(entry(`${site}/.wh.a-1.dist-info`))
    expect(names(await sbomOf(base, removed))).toEqual(["b 1 0"])
    expect(names(await sbomOf(base, archive(entry("opt/.wh.venv"))))).toEqual([])
  })

  it("loses what lies below an opaque directory, but not what its own layer brings, in either order", async () => {
    const opaque = entry(`${site}/.wh..wh..opq`)
    expect(names(await sbomOf(base, archive(opaque, distribution("c", "1"))))).toEqual(["c 1 1"])
    expect(names(await sbomOf(base, archive(distribution("c", "1"), opaque)))).toEqual(["c 1 1"])
  })

  it("loses it in every layer that says so, however often one layer repeats it", async () => {
    const opaque = Array.from({ length: 2000 }, () => entry(`${site}/.wh..wh..opq`))
    const again = archive(...opaque, distribution("d", "1"), ...opaque)
    expect(names(await sbomOf(base, archive(...opaque, distribution("c", "1")), again))).toEqual(["d 1 2"])
  })

  it("keeps what the layer of a whiteout brings itself", async () => {
    const replaced = archive(distribution("a", "1"), entry(`${site}/.wh.a-1.dist-info`))
    expect(names(await sbomOf(base, replaced))).toEqual(["a 1 1", "b 1 0"])
  })

  it("has a later layer's file in an earlier one's place", async () => {
    const newer = archive(entry(`${folder("a")}/METADATA`, { content: metadata("a", "2") }))
    expect(names(await sbomOf(base, newer))).toEqual(["a 2 1", "b 1 0"])
  })

  it("loses a directory that a file replaces", async () => {
    expect(names(await sbomOf(base, archive(entry("opt", { content: "x" }))))).toEqual([])
  })

  it("is reached through symbolic links to folders", async () => {
    const links = archive(entry("lib", { type: "2", linkName: "usr/lib" }), entry("usr/lib/", { type: "5" }))
    const metadataPath = "lib/python3/dist-packages/x-1.dist-info/METADATA"
    const through = archive(entry(metadataPath, { content: metadata("x", "1") }))
    const sbom = await sbomOf(links, through)
    expect(sbom.components[0]?.path).toBe(`usr/${metadataPath}`)
    expect(names(await sbomOf(links, through, archive(entry("usr/lib/python3/.wh.dist-packages"))))).toEqual([])
  })

  it("has hard links to metadata", async () => {
    const linked = archive(
      entry(`${folder("a")}/METADATA`, { content: metadata("a", "1") }),
      entry(`other/a-1.dist-info/METADATA`, { type: "1", linkName: `${folder("a")}/METADATA` }),
    )
    expect(names(await sbomOf(linked))).toEqual(["a 1 0", "a 1 0"])
  })

  it("survives links in a circle, and refuses folders without bottom", async () => {
    const circle = archive(
      entry("a", { type: "2", linkName: "b" }),
      entry("b", { type: "2", linkName: "a" }),
      entry("a/f", { content: "x" }),
    )
    expect(names(await sbomOf(circle))).toEqual([])
    const deep = archive(entry(`${"d/".repeat(1500)}f`, { pax: { path: `${"d/".repeat(1500)}f` } }))
    await expect(sbomOf(deep)).rejects.toThrow(expect.objectContaining({ code: "limit-exceeded" }))
  })
})

describe("what cannot be read is told, never left out in silence", () => {
  const cases: [string, Buffer, string, RegExp][] = [
    ["a broken dpkg database", archive(dpkg("nonsense")), "var/lib/dpkg/status", /not a field/],
    [
      "a stanza without a version",
      archive(dpkg(stanza("a", "1").replace("Version: 1\n", ""))),
      "var/lib/dpkg/status",
      /Version of a is missing/,
    ],
    [
      "a dpkg database that is not UTF-8",
      archive(entry("var/lib/dpkg/status", { content: Buffer.from([0xff]) })),
      "var/lib/dpkg/status",
      /UTF-8/,
    ],
    [
      "a dpkg database that is a link",
      archive(entry("var/lib/dpkg/status", { type: "2", linkName: "/x" }), entry("x", { content: "" })),
      "var/lib/dpkg/status",
      /where package databases are not looked for/,
    ],
    [
      "an oversized METADATA",
      archive(entry("x-1.dist-info/METADATA", { content: Buffer.alloc(4_194_305, 65) })),
      "x-1.dist-info/METADATA",
      /larger than the 4194304 bytes/,
    ],
    [
      "a METADATA without a name",
      archive(entry("x-1.dist-info/METADATA", { content: "Version: 1\n" })),
      "x-1.dist-info/METADATA",
      /Name is missing/,
    ],
    [
      "a METADATA that is a link",
      archive(entry("x-1.dist-info/METADATA", { type: "2", linkName: "/y" })),
      "x-1.dist-info/METADATA",
      /it is a symlink/,
    ],
    ["a dist-info without METADATA", archive(entry("x-1.dist-info/", { type: "5" })), "x-1.dist-info", /no METADATA/],
    [
      "a dist-info without an entry of its own and METADATA",
      archive(entry("x-1.dist-info/RECORD", { content: "" })),
      "x-1.dist-info",
      /no METADATA/,
    ],
    [
      "an egg-info folder without PKG-INFO",
      archive(entry("x.egg-info/top_level.txt", { content: "x" })),
      "x.egg-info",
      /no PKG-INFO/,
    ],
    [
      "an apk entry without a version",
      archive(entry("lib/apk/db/installed", { content: "P:musl\n" })),
      "lib/apk/db/installed",
      /V \(version\) of musl is missing/,
    ],
    [
      "an apk database of something else",
      archive(entry("usr/lib/apk/db/installed", { content: "nonsense\n" })),
      "usr/lib/apk/db/installed",
      /not a field/,
    ],
    [
      "an rpm database that breaks off",
      archive(entry("var/lib/rpm/rpmdb.sqlite", { content: "SQLite format 3\0" })),
      "var/lib/rpm/rpmdb.sqlite",
      /breaks off/,
    ],
    [
      "an rpm database of something else",
      archive(entry("usr/lib/sysimage/rpm/Packages", { content: Buffer.alloc(4096, 1) })),
      "usr/lib/sysimage/rpm/Packages",
      /not a Berkeley DB hash file/,
    ],
    [
      "a package.json of an installed package that is no JSON",
      archive(entry("app/node_modules/@a/b/package.json", { content: "{" })),
      "app/node_modules/@a/b/package.json",
      /JSON/,
    ],
    [
      "pacman's database",
      archive(entry("var/lib/pacman/local/ALPM_DB_VERSION", { content: "9" })),
      "var/lib/pacman/local/ALPM_DB_VERSION",
      /does not read pacman/,
    ],
  ]
  it.each(cases)("%s", async (_, tar, path, because) => {
    const sbom = await sbomOf(tar)
    expect(sbom.components).toEqual([])
    expect(sbom.unreadable).toEqual([{ path, layer: 0, because: expect.stringMatching(because) }])
    // A verifier has the bytes alone, and must not take an empty list for an image without packages.
    expect(unreadableBy(sbom.bytes)).toEqual(sbom.unreadable)
  })

  it("whatever the databases hold", async () => {
    const lines = fc.array(
      fc.oneof(
        fc.constantFrom("Name: a", "Version: 1", "Package: a", "Status: install ok installed", "Architecture: all", ""),
        fc.string(),
      ),
    )
    await fc.assert(
      fc.asyncProperty(lines, async lines => {
        const content = lines.join("\n")
        const tar = archive(entry("var/lib/dpkg/status", { content }), entry("x-1.dist-info/METADATA", { content }))
        const sbom = await sbomOf(tar)
        const python = sbom.components.filter(({ type }) => type === "pypi").length
        expect(python + sbom.unreadable.filter(({ path }) => path.startsWith("x")).length).toBe(1)
        expect(problems(sbom)).toBeNull()
      }),
      { numRuns: 50 },
    )
  })
})

describe("the document", () => {
  const tars = [
    archive(osRelease, dpkg(stanza("libc6", "2.36"), stanza("apt", "2.6"))),
    archive(
      distribution("b", "1", "License: MIT\n"),
      distribution("a", "1", "License-Expression: MIT AND LicenseRef-x\n"),
    ),
    archive(entry(`other/b-1.dist-info/METADATA`, { content: metadata("b", "1") })),
  ]

  it("is valid CycloneDX 1.6", async () => {
    expect(problems(await sbomOf(...tars))).toBeNull()
    expect(problems(await sbomOf(archive()))).toBeNull()
    expect(validate({ bomFormat: "CycloneDX", specVersion: "1.6", version: 0 })).toBe(false)
  })

  it("is the same bytes each time, whatever the order in the archive", async () => {
    const first = await sbomOf(...tars)
    const again = await sbomOf(...tars)
    expect(Buffer.from(again.bytes).equals(first.bytes)).toBe(true)
    const turned = await sbomOf(archive(dpkg(stanza("apt", "2.6"), stanza("libc6", "2.36")), osRelease))
    expect(turned.components.map(({ purl }) => purl)).toEqual(first.components.slice(0, 2).map(({ purl }) => purl))
  })

  it("has no time, a serial number from the image's digest, its tool, and sorted components", async () => {
    const document = JSON.parse(Buffer.from((await sbomOf(...tars)).bytes).toString())
    expect(document.metadata.timestamp).toBeUndefined()
    expect(document.serialNumber).toMatch(
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    )
    expect(document.metadata.tools.components).toMatchObject([tool])
    expect(document.metadata.component.version).toBe(manifestDigest)
    const refs = document.components.map((component: { "bom-ref": string }) => component["bom-ref"])
    expect(new Set(refs).size).toBe(5)
  })

  it("sorts by package URL, then by path", async () => {
    const { components } = await sbomOf(...tars)
    const keys = components.map(({ purl, path }) => `${purl}\0${path}`)
    expect(keys).toEqual([...keys].sort(compareBytewise))
  })
})
