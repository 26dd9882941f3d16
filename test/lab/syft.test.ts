// Our SBOM beside that of syft 1.51.0, on the same image layouts: every package that only one of them has is explained.
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { deflateSync, gunzipSync } from "node:zlib"
import { buildImageSbom, inventoryImage, openOciLayout } from "@envidence/oci"
import { describe, expect, test } from "vitest"
import { layer, temporaryFolder, writeLayout } from "../../packages/oci/test/layers.ts"
import { ndb, rpmHeader } from "../../packages/oci/test/rpm-writer.ts"
import { archive, entry } from "../../packages/oci/test/tar-writer.ts"
import { findProgram } from "../../scripts/prerequisites.ts"
import { distinct, findSyft, runSyft } from "./syft.ts"

const syft = findSyft()
const program = "program" in syft ? syft.program : ""
const skipped = "missing" in syft ? ` (skipped: ${syft.missing})` : ""

interface Comparison {
  readonly both: number
  readonly onlyOurs: readonly string[]
  readonly onlyTheirs: readonly string[]
  readonly unreadable: readonly string[]
}

async function compare(directory: string): Promise<Comparison> {
  const layout = await openOciLayout(directory)
  const sbom = buildImageSbom(layout, await inventoryImage(layout))
  const ours = distinct(sbom.components.map(({ purl }) => purl))
  const theirs = runSyft(program, directory)
  const [own, other] = [new Set(ours), new Set(theirs)]
  return {
    both: ours.filter(one => other.has(one)).length,
    onlyOurs: ours.filter(one => !other.has(one)),
    onlyTheirs: theirs.filter(one => !own.has(one)),
    unreadable: sbom.unreadable.map(({ path }) => path),
  }
}

const image = (...parts: readonly Buffer[]) => writeLayout([layer(archive(...parts), "gzip")])
const release = (id: string, version: string) =>
  entry("etc/os-release", { content: `ID=${id}\nVERSION_ID="${version}"\nPRETTY_NAME="${id}"\n` })
const agreed = (both: number) => ({ both, onlyOurs: [], onlyTheirs: [], unreadable: [] })

const fixtures = join(import.meta.dirname, "../../packages/oci/test/sbom-fixtures")
const fixture = (name: string) => gunzipSync(readFileSync(join(fixtures, `${name}.gz`)))
const executable = (path: string, content: Buffer) => entry(path, { content, mode: 0o755 })

describe.skipIf(program === "")(`beside syft${skipped}`, () => {
  const example = join(import.meta.dirname, "../../demo-out/image")
  test.skipIf(!existsSync(example))("the example's image, which npm run demo leaves", async () => {
    const { both, ...rest } = await compare(example)
    expect(both).toBeGreaterThan(100)
    expect(rest).toEqual({ onlyOurs: [], onlyTheirs: [], unreadable: [] })
  })

  const rpm: [string, string, Buffer, number][] = [
    ["sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", fixture("rpmdb.sqlite"), 62],
    ["Berkeley DB", "var/lib/rpm/Packages", fixture("Packages"), 62],
    [
      "ndb",
      "usr/lib/sysimage/rpm/Packages.db",
      ndb(
        ["a", "b", "c"].map(name =>
          rpmHeader({ 1000: name, 1001: "1", 1002: "2", 1003: 3, 1014: "MIT", 1022: "x86_64", 1044: "a-1-2.src.rpm" }),
        ),
        true,
      ),
      3,
    ],
  ]
  test.each(rpm)("rpm's %s", async (_, path, content, count) => {
    expect(await compare(image(release("fedora", "40"), entry(path, { content })))).toEqual(agreed(count))
  })

  test("apk", async () => {
    const packages = ["musl", "busybox", "ca-certificates-bundle"].map(
      name => `C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=\nP:${name}\nV:1.2.3-r4\nA:x86_64\nL:MIT\no:x\nF:lib\nR:${name}\n`,
    )
    const installed = entry("lib/apk/db/installed", { content: packages.join("\n") })
    expect(await compare(image(release("alpine", "3.20.1"), installed))).toEqual(agreed(3))
  })

  test("Debian packages, also of an image without dpkg", async () => {
    const stanza = (name: string, status: string) =>
      `Package: ${name}\n${status}Architecture: amd64\nVersion: 1:2.0+b1~rc-3\n`
    const status = [stanza("a", "Status: install ok installed\n"), stanza("b", "Status: deinstall ok config-files\n")]
    const parts = [
      entry("var/lib/dpkg/status", { content: status.join("\n") }),
      // Syft looks only into folders that are declared.
      ...["var/", "var/lib/", "var/lib/dpkg/", "var/lib/dpkg/status.d/"].map(path => entry(path, { type: "5" })),
      entry("var/lib/dpkg/status.d/c", { content: stanza("c", "") }),
    ]
    expect(await compare(image(release("debian", "12"), ...parts))).toEqual(agreed(2))
  })

  test("Python", async () => {
    const metadata = (name: string) => ({ content: `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n\n` })
    const site = "usr/lib/python3/site-packages"
    const parts = [
      entry(`${site}/Foo.Bar-1.0.dist-info/METADATA`, metadata("Foo.Bar")),
      entry(`${site}/egg-1.0.egg-info`, metadata("egg")),
      entry(`${site}/folder.egg-info/PKG-INFO`, metadata("folder")),
      entry(`${site}/zipped-1.0-py3.egg/EGG-INFO/PKG-INFO`, metadata("zipped")),
    ]
    expect(await compare(image(...parts))).toEqual(agreed(4))
  })

  test("npm", async () => {
    const manifest = (path: string, value: object) => entry(`${path}/package.json`, { content: JSON.stringify(value) })
    const parts = [
      manifest("app", { name: "app", version: "1.0.0" }),
      manifest("app/node_modules/a", { name: "a", version: "1.0.0", license: "MIT" }),
      manifest("app/node_modules/@s/b", { name: "@s/b", version: "2.0.0-rc.1" }),
      manifest("app/node_modules/a/node_modules/c", { name: "c", version: "3.0.0" }),
      manifest("app/node_modules/a/test/fixture", { name: "fixture", version: "0.0.0" }),
      manifest("app/node_modules/a/esm", { type: "module" }),
    ]
    expect(await compare(image(...parts))).toEqual(agreed(5))
  })

  const go = findProgram("go") ?? ["/usr/local/go/bin/go"].find(existsSync)
  test.skipIf(go === undefined)("a program that Go builds here", async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, "go.mod"), "module example.com/made\n\ngo 1.21\n")
    writeFileSync(join(folder, "main.go"), "package main\n\nfunc main() {}\n")
    const { status } = spawnSync(go ?? "", ["build", "-buildvcs=false", "-o", "made", "."], { cwd: folder })
    expect(status).toBe(0)
    expect(await compare(image(executable("usr/bin/made", readFileSync(join(folder, "made")))))).toEqual(agreed(2))
  })

  test("a large program: syft itself, of many modules", async () => {
    const { both, onlyOurs, onlyTheirs, unreadable } = await compare(
      writeLayout([layer(archive(executable("syft", readFileSync(program))))]),
    )
    expect(both).toBeGreaterThan(200)
    expect(unreadable).toEqual([])
    // The type golang of package URLs has lower case, which syft does not follow.
    expect(onlyTheirs.map(purl => purl.toLowerCase()).sort()).toEqual(onlyOurs)
  })

  test.skipIf(findProgram("rustc") === undefined)(
    "a program with cargo-auditable's list, linked by rustc",
    async () => {
      const crates = {
        packages: [
          { name: "app", version: "0.1.0", source: "local", dependencies: [1], root: true },
          { name: "serde", version: "1.0.219", source: "crates.io" },
          { name: "cc", version: "1.2.0", source: "crates.io", kind: "build" },
        ],
      }
      const bytes = [...deflateSync(JSON.stringify(crates))]
      const folder = temporaryFolder()
      const section = `#[link_section = ".dep-v0"]\n#[used]\nstatic A: [u8; ${bytes.length}] = [${bytes}];\n`
      writeFileSync(join(folder, "made.rs"), `${section}fn main() {}\n`)
      expect(spawnSync("rustc", ["-O", "made.rs"], { cwd: folder }).status).toBe(0)
      expect(await compare(image(executable("usr/bin/made", readFileSync(join(folder, "made")))))).toEqual(agreed(2))
    },
  )
})
