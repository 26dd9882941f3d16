// The databases of package managers other than dpkg and Python's, and what depends on what.
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { ndb, rpmHeader } from "./rpm-writer.js"
import { needs, parsed, problems, sbomOf } from "./sbom-of.js"
import { archive, entry } from "./tar-writer.js"

const fixture = (name: string) => gunzipSync(readFileSync(join(import.meta.dirname, "sbom-fixtures", `${name}.gz`)))
const release = (id: string, version: string) =>
  entry("etc/os-release", { content: `ID=${id}\nVERSION_ID="${version}"\n` })
const purls = (sbom: Awaited<ReturnType<typeof sbomOf>>) => sbom.components.map(({ purl }) => purl)

describe("apk", () => {
  const installed = `C:Q1abc+/=
P:musl
V:1.2.5-r0
A:x86_64
S:1
I:2
T:the musl c library
U:https://example.org
L:MIT
o:musl
m:A B <a@example.org>
t:1
c:abc
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1x=

P:busybox-binsh
V:1.36.1-r29
A:x86_64
L:GPL-2.0-only
o:busybox
D:so:libc.musl-x86_64.so.1 musl>=1 !other /bin/absent
p:/bin/sh cmd:sh=1.36.1-r29

P:script
V:1
A:noarch
L:BSD and something
D:/bin/sh
`
  it("gives packages with licence, origin and what they need", async () => {
    const sbom = await sbomOf(
      archive(release("alpine", "3.20.1"), entry("lib/apk/db/installed", { content: installed })),
    )
    expect([sbom.unreadable, problems(sbom)]).toEqual([[], null])
    expect(purls(sbom)).toEqual([
      "pkg:apk/alpine/busybox-binsh@1.36.1-r29?arch=x86_64&distro=alpine-3.20.1&upstream=busybox",
      "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1",
      "pkg:apk/alpine/script@1?arch=noarch&distro=alpine-3.20.1",
    ])
    expect(needs(sbom)).toEqual({
      "busybox-binsh 1.36.1-r29": ["musl 1.2.5-r0"],
      "script 1": ["busybox-binsh 1.36.1-r29"],
    })
    const { components } = parsed(sbom)
    expect(components?.map(({ licenses }) => licenses)).toEqual([
      [{ license: { id: "GPL-2.0-only" } }],
      [{ license: { id: "MIT" } }],
      [{ license: { name: "BSD and something" } }],
    ])
    expect(components?.[1]?.properties).toContainEqual({ name: "envidence:apk:checksum", value: "Q1abc+/=" })
    expect(components?.[1]?.hashes).toBeUndefined()
  })

  it("attributes packages to the layer that installed them", async () => {
    const one = entry("lib/apk/db/installed", { content: "P:a\nV:1\n" })
    const two = entry("lib/apk/db/installed", { content: "P:a\nV:1\n\nP:b\nV:2\n" })
    const { components } = await sbomOf(archive(one), archive(two))
    expect(components.map(({ name, layer }) => `${name} ${layer}`)).toEqual(["a 0", "b 1"])
  })
})

describe("rpm", () => {
  const tags = { 1000: "sole", 1001: "1.0", 1002: "2", 1014: "MIT", 1022: "x86_64", 1044: "sole-1.0-2.src.rpm" }
  const databases: [string, string, Buffer][] = [
    ["sqlite, written by rpm", "var/lib/rpm/rpmdb.sqlite", fixture("rpmdb.sqlite")],
    ["Berkeley DB, written by Berkeley DB", "var/lib/rpm/Packages", fixture("Packages")],
  ]
  it.each(databases)("%s", async (_, path, content) => {
    const sbom = await sbomOf(archive(release("fedora", "40"), entry(path, { content })))
    expect([sbom.unreadable, problems(sbom), sbom.byType]).toEqual([[], null, { rpm: 62 }])
    const parts = Array.from({ length: 60 }, (_, i) => `part${i}`)
    expect(new Set(sbom.components.map(({ name }) => name))).toEqual(new Set(["alpha", "beta", ...parts]))
    expect(purls(sbom)[0]).toBe(
      "pkg:rpm/fedora/alpha@1.2-3.fc40?arch=noarch&distro=fedora-40&epoch=2&upstream=alpha-1.2-3.fc40.src.rpm",
    )
    const edges = needs(sbom)
    // By name, by a file among four hundred, and by what it provides: one edge.
    expect(edges["alpha 2:1.2-3.fc40"]).toEqual(["beta 2:1.5-3.fc40"])
    expect(edges["part59 2:1.2-3.fc40"] ?? edges["part59 2:1.5-3.fc40"]).toEqual(["alpha 2:1.2-3.fc40"])
    const { components } = parsed(sbom)
    expect(components?.[0]?.licenses).toEqual([{ expression: "MIT AND Apache-2.0" }])
    expect(components?.[0]?.properties.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["envidence:rpm:sha1header", "envidence:rpm:sha256header", "envidence:rpm:sigmd5"]),
    )
  })

  it("ndb, with and without free slots", async () => {
    const headers = Array.from({ length: 300 }, (_, i) => rpmHeader({ ...tags, 1000: `p${i}`, 1003: i }))
    for (const holes of [false, true]) {
      const content = ndb(headers, holes)
      const sbom = await sbomOf(archive(entry("usr/lib/sysimage/rpm/Packages.db", { content })))
      expect([sbom.unreadable, sbom.byType]).toEqual([[], { rpm: 300 }])
      expect(sbom.components.find(({ name }) => name === "p7")?.version).toBe("7:1.0-2")
    }
  })

  it("is read once where a folder is a link to the other", async () => {
    const content = ndb([rpmHeader(tags)])
    const sbom = await sbomOf(
      archive(
        entry("usr/lib/sysimage/rpm/Packages.db", { content }),
        entry("var/lib/rpm", { type: "2", linkName: "../../usr/lib/sysimage/rpm" }),
      ),
    )
    expect([sbom.unreadable, sbom.byType]).toEqual([[], { rpm: 1 }])
  })

  it("keeps a signing key, which has no architecture", async () => {
    const content = ndb([rpmHeader({ 1000: "gpg-pubkey", 1001: "a15b79cc", 1002: "63d04c2c", 1014: "pubkey" })])
    const sbom = await sbomOf(archive(entry("var/lib/rpm/Packages.db", { content })))
    expect(purls(sbom)).toEqual(["pkg:rpm/gpg-pubkey@a15b79cc-63d04c2c"])
  })

  it("tells of changes that SQLite has not merged", async () => {
    const sbom = await sbomOf(
      archive(
        entry("var/lib/rpm/rpmdb.sqlite", { content: fixture("rpmdb.sqlite") }),
        entry("var/lib/rpm/rpmdb.sqlite-wal", { content: "changes" }),
      ),
    )
    expect(sbom.unreadable).toEqual([
      { path: "var/lib/rpm/rpmdb.sqlite-wal", layer: 0, because: expect.stringMatching(/changes/) },
    ])
  })

  // The last tag's, of seven.
  const withCount = (count: number) => {
    const header = rpmHeader({ ...tags, 1047: ["x"] })
    header.writeUInt32BE(count, 8 + 6 * 16 + 12)
    return header
  }
  const broken: [string, Buffer, RegExp][] = [
    ["a count of millions", ndb([withCount(1_000_001)]), /tag 1047 malformed/],
    ["a header without a name", ndb([rpmHeader({ 1001: "1" })]), /package's name is missing/],
    ["a count beyond the data", ndb([withCount(5)]), /without end/],
    ["an epoch that is text", ndb([rpmHeader({ ...tags, 1003: "1" })]), /tag 1003 malformed/],
    ["a list that breaks off", ndb([rpmHeader(tags)]).subarray(0, 2000), /breaks off/],
    ["a package that breaks off", ndb([rpmHeader(tags)]).subarray(0, 4200), /breaks off/],
  ]
  it.each(broken)("%s is told", async (_, content, because) => {
    const sbom = await sbomOf(archive(entry("var/lib/rpm/Packages.db", { content })))
    expect(sbom.components).toEqual([])
    expect(sbom.unreadable).toEqual([
      { path: "var/lib/rpm/Packages.db", layer: 0, because: expect.stringMatching(because) },
    ])
  })

  it.each(databases)("%s: any byte changed gives packages or a finding, in bounded time", async (_, path, content) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(8191), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        async (changes, cut) => {
          const changed = Buffer.from(content)
          for (const [at, value] of changes) changed[at] = value
          const sbom = await sbomOf(archive(entry(path, { content: cut ? changed.subarray(0, 20_000) : changed })))
          expect(sbom.components.length + sbom.unreadable.length).toBeGreaterThan(0)
        },
      ),
      { numRuns: 60 },
    )
  })

  it("pages in a circle, and rows that share their bytes, end", async () => {
    const content = Buffer.from(fixture("rpmdb.sqlite"))
    const root = content.length / 4096
    // Every page claims to be an interior page whose one child is itself or the page before.
    for (let page = 1; page < root; page++) {
      content.fill(0, page * 4096, page * 4096 + 12)
      content[page * 4096] = 5
      content.writeUInt32BE(page + 1, page * 4096 + 8)
    }
    const circle = await sbomOf(archive(entry("var/lib/rpm/rpmdb.sqlite", { content })))
    expect(circle.unreadable[0]?.because).toMatch(/circle/)
    const shared = Buffer.from(fixture("Packages"))
    for (let page = 1; page < shared.length / 4096; page++)
      if (shared[page * 4096 + 25] === 13) {
        shared.writeUInt16LE(2000, page * 4096 + 20)
        for (let i = 1; i < 1000; i++)
          shared.writeUInt16LE(shared.readUInt16LE(page * 4096 + 26), page * 4096 + 26 + 2 * i)
      }
    const sharing = await sbomOf(archive(entry("var/lib/rpm/Packages", { content: shared })))
    expect(sharing.components).toEqual([])
    expect(sharing.unreadable).toHaveLength(1)
  })
})

describe("npm", () => {
  const manifest = (path: string, value: unknown) =>
    entry(`${path}package.json`, { content: typeof value === "string" ? value : JSON.stringify(value) })

  it("gives what node_modules holds, and what each finds there", async () => {
    const sha512 = Buffer.alloc(64, 7)
    const sbom = await sbomOf(
      archive(
        manifest("app/", { name: "app", version: "1.0.0", dependencies: { a: "^1", "@s/b": "1", absent: "1" } }),
        manifest("app/node_modules/a/", {
          name: "a",
          version: "1.2.3",
          license: "(MIT OR Apache-2.0)",
          dependencies: { c: "1" },
          _integrity: `sha512-${sha512.toString("base64")}`,
        }),
        manifest("app/node_modules/@s/b/", {
          name: "@s/b",
          version: "1.0.0-rc.1+x",
          licenses: [{ type: "MIT" }, { type: "Custom" }],
          peerDependencies: { c: "*" },
        }),
        manifest("app/node_modules/c/", { name: "c", version: "1.0.0", license: { type: "ISC" } }),
        manifest("app/node_modules/a/node_modules/c/", { name: "c", version: "2.0.0" }),
        manifest("app/node_modules/a/esm/", { type: "module" }),
        manifest("app/node_modules/c/test/broken/", "{"),
      ),
    )
    expect([sbom.unreadable, problems(sbom)]).toEqual([[], null])
    expect(purls(sbom)).toEqual([
      "pkg:npm/%40s/b@1.0.0-rc.1+x",
      "pkg:npm/a@1.2.3",
      "pkg:npm/app@1.0.0",
      "pkg:npm/c@1.0.0",
      "pkg:npm/c@2.0.0",
    ])
    expect(needs(sbom)).toEqual({
      "@s/b 1.0.0-rc.1+x": ["c 1.0.0"],
      "a 1.2.3": ["c 2.0.0"],
      "app 1.0.0": ["@s/b 1.0.0-rc.1+x", "a 1.2.3"],
    })
    const { components } = parsed(sbom)
    expect(components?.map(({ licenses }) => licenses)).toEqual([
      [{ license: { name: "Custom" } }, { license: { id: "MIT" } }],
      [{ expression: "(MIT OR Apache-2.0)" }],
      undefined,
      [{ license: { id: "ISC" } }],
      undefined,
    ])
    expect(components?.[1]?.hashes).toEqual([{ alg: "SHA-512", content: sha512.toString("hex") }])
  })

  it("takes hashes from what npm noted of its installation", async () => {
    const [one, two] = [Buffer.alloc(64, 1), Buffer.alloc(64, 2)]
    const integrity = (hash: Buffer) => ({ integrity: `sha512-${hash.toString("base64")}` })
    const lock = {
      lockfileVersion: 3,
      packages: {
        "node_modules/a": integrity(one),
        "node_modules/a/node_modules/@s/b": integrity(two),
        "node_modules/c": { integrity: "sha1-AAAA" },
      },
    }
    const sbom = await sbomOf(
      archive(
        entry("app/node_modules/.package-lock.json", { content: JSON.stringify(lock) }),
        manifest("app/node_modules/a/", { name: "a", version: "1.0.0" }),
        manifest("app/node_modules/a/node_modules/@s/b/", { name: "@s/b", version: "1.0.0" }),
        manifest("app/node_modules/c/", { name: "c", version: "1.0.0" }),
        entry("node_modules/.package-lock.json", { content: "{" }),
      ),
    )
    expect(sbom.unreadable).toEqual([])
    expect(parsed(sbom).components?.map(({ hashes }) => hashes)).toEqual([
      [{ alg: "SHA-512", content: two.toString("hex") }],
      [{ alg: "SHA-512", content: one.toString("hex") }],
      undefined,
    ])
  })

  it.each(["__proto__", "constructor"])("survives a package named %s", async name => {
    const content = `{"name":"${name}","version":"1.0.0","dependencies":{"${name}":"1"}}`
    const sbom = await sbomOf(archive(entry(`node_modules/x/package.json`, { content })))
    expect(sbom.components.length + sbom.unreadable.length).toBe(1)
    expect(problems(sbom)).toBeNull()
  })
})

describe("dependencies", () => {
  const stanza = (name: string, extra: string) =>
    `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n${extra}`

  it("of Debian packages follow names, alternatives and what others provide", async () => {
    const sbom = await sbomOf(
      archive(
        entry("var/lib/dpkg/status", {
          content: [
            stanza("a", "Depends: b (>= 1) | absent, virtual, c:any\nPre-Depends: d\n"),
            stanza("b", "Depends: a\n"),
            stanza("c", ""),
            stanza("d", "Provides: virtual (= 1), other\nRecommends: c\n"),
          ].join("\n"),
        }),
      ),
    )
    expect(needs(sbom)).toEqual({ "a 1": ["b 1", "c 1", "d 1"], "b 1": ["a 1"] })
    expect(problems(sbom)).toBeNull()
  })

  it("of Python distributions stay in their folder where they can, without what only an extra needs", async () => {
    const metadata = (site: string, name: string, version: string, requires: readonly string[] = []) =>
      entry(`${site}/${name}-${version}.dist-info/METADATA`, {
        content: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n${requires.map(one => `Requires-Dist: ${one}\n`).join("")}\n`,
      })
    const sbom = await sbomOf(
      archive(
        metadata("venv", "A.A", "1", ["b_b[x]>=1; python_version > '3'", 'c ; extra == "x"', "d (<2)"]),
        metadata("venv", "B-b", "1"),
        metadata("venv", "c", "1"),
        metadata("usr", "b-b", "2"),
        metadata("usr", "d", "1"),
      ),
    )
    expect(needs(sbom)).toEqual({ "A.A 1": ["B-b 1", "d 1"] })
  })

  it("by more names than anybody writes are told", async () => {
    const names = Array.from({ length: 600_000 }, (_, i) => `n${i}`).join(" ")
    const apk = entry("lib/apk/db/installed", { content: `P:a\nV:1\nD:${names}\np:${names}\n` })
    expect((await sbomOf(archive(apk))).unreadable).toEqual([
      { path: "lib/apk/db/installed", layer: 0, because: expect.stringMatching(/too long to be one/) },
    ])
    const some = names.slice(0, 4_000_000)
    const several = ["a", "b"].map(name => `P:${name}\nV:1\nD:${some}\n`).join("\n")
    expect((await sbomOf(archive(entry("lib/apk/db/installed", { content: several })))).unreadable).toEqual([
      { path: "lib/apk/db/installed", layer: 0, because: expect.stringMatching(/more than 1000000 times/) },
    ])
    const dependencies = Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`n${i}`, ""]))
    const manifests = Array.from({ length: 18 }, (_, i) =>
      entry(`node_modules/p${i}/package.json`, {
        content: JSON.stringify({ name: `p${i}`, version: "1.0.0", dependencies }),
      }),
    )
    const sbom = await sbomOf(archive(...manifests))
    expect(sbom.components).toHaveLength(18)
    expect(sbom.unreadable).toEqual([
      { path: expect.stringMatching(/package\.json$/), layer: 0, because: expect.stringMatching(/1000000 times/) },
    ])
  })

  it("are bounded, and say so", async () => {
    const names = Array.from({ length: 1100 }, (_, i) => `p${i}`)
    const content = names.map(name => stanza(name, "Provides: all\nDepends: all\n")).join("\n")
    const sbom = await sbomOf(archive(entry("var/lib/dpkg/status", { content })))
    expect(sbom.components).toHaveLength(1100)
    expect(sbom.unreadable).toEqual([
      { path: "var/lib/dpkg/status", layer: 0, because: expect.stringMatching(/1000000 times/) },
    ])
  })
})

it("a package listed twice has two references, by no chance", async () => {
  const tar = archive(entry("lib/apk/db/installed", { content: "P:a\nV:1\n\nP:a\nV:1\n\nP:b\nV:1\nD:a\n" }))
  const [first, again] = [await sbomOf(tar), await sbomOf(tar)]
  expect(Buffer.from(again.bytes).equals(first.bytes)).toBe(true)
  const [a, b, c] = parsed(first).components?.map(component => component["bom-ref"]) ?? []
  expect([b, c]).toEqual([`${a}#2`, expect.stringContaining("/b@1")])
  expect(problems(first)).toBeNull()
})

it("an expression among several licences is one of their names", async () => {
  const content = JSON.stringify({ name: "a", version: "1.0.0", licenses: [{ type: "MIT OR ISC" }, { type: "BSD" }] })
  const sbom = await sbomOf(archive(entry("node_modules/a/package.json", { content })))
  expect(parsed(sbom).components?.[0]?.licenses).toEqual([
    { license: { name: "BSD" } },
    { license: { name: "MIT OR ISC" } },
  ])
})

it("texts that are cut stay texts", async () => {
  const long = `${"x".repeat(255)}\u{1f600}`
  const content = JSON.stringify({
    name: "a",
    version: "1.0.0",
    license: long,
    description: `\ud800${"x".repeat(1022)}\u{1f600}`,
  })
  const sbom = await sbomOf(archive(entry("node_modules/a/package.json", { content })))
  expect(Buffer.from(sbom.bytes).toString()).not.toMatch(/\\ud[89ab]/i)
  expect(problems(sbom)).toBeNull()
})

it("refuses more packages than anybody reads", async () => {
  const some = (count: number) => Array.from({ length: count }, (_, i) => `P:p${i}\nV:1\n`).join("\n")
  const fits = await sbomOf(archive(entry("lib/apk/db/installed", { content: some(100_000) })))
  expect([fits.components.length, fits.unreadable]).toEqual([100_000, []])
  const beyond = await sbomOf(archive(entry("lib/apk/db/installed", { content: some(100_001) })))
  expect(beyond.unreadable).toEqual([
    { path: "lib/apk/db/installed", layer: 0, because: expect.stringMatching(/more than 100000 packages/) },
  ])
})
