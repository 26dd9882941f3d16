// The figures of composition-inspection beside those of dive 0.13.1, to the last digit, on the same archives.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { buildImageView, type DiveFigures, diveFigures } from "@envidence/core"
import { inventoriesOf, inventoryImage, openDockerArchive } from "@envidence/oci"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { archive, entry } from "../../packages/oci/test/tar-writer.ts"
import { findProgram } from "../../scripts/prerequisites.ts"
import { findDive, runDive, runDiveInCi } from "./dive.ts"

const dive = findDive()
const program = "program" in dive ? dive.program : ""
const skipped = "missing" in dive ? ` (skipped: ${dive.missing})` : ""

// Archives are large: not in /tmp, which is often kept in memory.
const folder = mkdtempSync("/var/tmp/dive-")
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Entries between spaces: a path, and after a colon how many bytes; a slash at the end makes a directory. */
type Files = string

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")

function layerOf(files: Files): Buffer {
  const parts = files
    .split(" ")
    .filter(Boolean)
    .map(file => {
      const [path = "", bytes = "0"] = file.split(":")
      return path.endsWith("/")
        ? entry(path, { type: "5", mode: 0o755 })
        : entry(path, { content: Buffer.alloc(Number(bytes), 120) })
    })
  return archive(...parts)
}

let made = 0

/** As `docker save` writes it. Equal layers are two files, which dive takes for two layers as well. */
function writeImage(layers: readonly Files[]): string {
  const tars = layers.map(layerOf)
  const names = tars.map((_, i) => `layer-${i}.tar`)
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: tars.map(tar => `sha256:${sha256(tar)}`) },
      history: tars.map((_, i) => ({ created_by: `layer ${i}` })),
    }),
  )
  const manifest = [{ Config: "config.json", RepoTags: ["localhost/dive:test"], Layers: names }]
  const file = join(folder, `${++made}.tar`)
  const members = [
    entry("config.json", { content: config }),
    ...tars.map((tar, i) => entry(names[i] ?? "", { content: tar })),
    entry("manifest.json", { content: JSON.stringify(manifest) }),
  ]
  writeFileSync(file, archive(...members))
  return file
}

async function ours(file: string): Promise<DiveFigures> {
  const image = await openDockerArchive(file)
  try {
    const { manifestBytes, configBytes } = image
    const layers = inventoriesOf(await inventoryImage(image))
    return diveFigures((await buildImageView({ manifestBytes, configBytes, layers })).layers)
  } finally {
    await image.blobs.close()
  }
}

const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1)

async function expectAgreement(file: string): Promise<DiveFigures> {
  const figures = await ours(file)
  const { layerBytes, inefficient, ...theirs } = runDive(program, file)
  const { efficiency, wastedBytes, sizeBytes, userBytes } = figures
  expect({ efficiency, wastedBytes, sizeBytes }).toEqual(theirs)
  expect(userBytes).toBe(layerBytes.slice(1).reduce((sum, bytes) => sum + bytes, 0))
  const paths = figures.inefficient.map(({ path, references, bytes }) => ({ path, references, bytes }))
  expect(paths.toSorted(byPath)).toEqual(inefficient.toSorted(byPath))
  return figures
}

// Layers from the base up, each a list of entries.
const cases: Readonly<Record<string, readonly string[]>> = {
  "one layer": ["a:10"],
  "a file that is overwritten": ["a:10", "a:4", "a:7 b:1"],
  "a file that is deleted": ["a:10 b:5", ".wh.a"],
  "a folder that is deleted": ["d/ d/a:10 d/e/b:7", ".wh.d c:1"],
  "a folder that no entry declares, deleted": ["d/a:10", ".wh.d"],
  "a folder whose declaration a later layer drops": ["d/ d/a:10", "d/b:3", ".wh.d"],
  "an opaque folder": ["d/ d/a:10", "d/ d/.wh..wh..opq d/b:3", "d/.wh.b"],
  "an opaque marker alone": ["d/a:10", "d/.wh..wh..opq", "d:3"],
  "a folder that a file replaces": ["d/ d/a:10", "d:3", ".wh.d"],
  "a file that a folder replaces": ["d:10", "d/ d/a:3", ".wh.d"],
  "deleted and made again": ["a:10", ".wh.a", "a:10"],
  "deleted and made again in one layer": ["d/ d/-a:10", "d/.wh.-a d/-a:4 d/b:1", "d/.wh.-a .wh.d"],
  "a whiteout of what is not there": ["a:10", ".wh.b a:3 .a:1 z:9", "b:2 a:1"],
  "a whiteout in the first layer": ["a:10 .wh.a b:4", "a:1", ".wh.a"],
  "whiteouts of whiteouts": [".wh.a a:3", ".wh..wh.a d/.wh.", "a:2"],
  "a path twice in one archive": ["a:10 a:3", "a:5 a:7"],
  "paths written in other ways": ["./a:10 d/../b:2 ./ d//c:3", "a:1 /b:2 d/c:4"],
  "folders above the first layer alone": ["a:10", "d/", "d/", ".wh.d"],
  "the same layer twice": ["a:10 b:2", "a:3", "a:3"],
  "nothing but empty layers": ["", ""],
}

/** A generator with a seed: a failure can be repeated. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function randomImage(seed: number): Files[] {
  const random = randomFrom(seed)
  const name = () => ["a", "b", ".c", "-d", "é"][random(5)] ?? "a"
  const path = () => Array.from({ length: 1 + random(3) }, name).join("/")
  const file = (): string => {
    const at = path()
    const parent = at.slice(0, at.lastIndexOf("/") + 1)
    const kind = random(10)
    if (kind < 2) return `${at}/`
    if (kind < 4) return `${parent}.wh.${at.slice(parent.length)}`
    return kind < 5 ? `${parent}.wh..wh..opq` : `${at}:${random(200)}`
  }
  return Array.from({ length: 1 + random(5) }, () => Array.from({ length: random(12) }, file).join(" "))
}

describe.skipIf("missing" in dive)(`dive 0.13.1 says the same${skipped}`, () => {
  test.each(Object.entries(cases))("of %s", async (_, layers) => {
    await expectAgreement(writeImage(layers))
  })
  test("of sixty images made by chance", async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const layers = randomImage(seed)
      await expectAgreement(writeImage(layers)).catch(cause => {
        throw new Error(`seed ${seed}: ${JSON.stringify(layers)}`, { cause })
      })
    }
  }, 120_000)
  test("of the share of the user's bytes, as its CI mode states it", async () => {
    const file = writeImage(["a:1000", "a:700", "b:1234", "b:77"])
    const { wastedUserPercent, efficiency } = await expectAgreement(file)
    const told = runDiveInCi(program, file)
    expect(told).toContain(`%-user-wasted-bytes=${wastedUserPercent} > threshold`)
    expect(told).toContain(`efficiency=${efficiency} < threshold`)
  })
})

const BASE = "localhost/envidence-example-base:latest"
const podman = findProgram("podman")
const hasBase = podman !== undefined && spawnSync(podman, ["image", "exists", BASE]).status === 0
const unfit = "missing" in dive ? dive.missing : hasBase ? "" : `no ${BASE}`

describe.skipIf(unfit !== "")(`dive 0.13.1 says the same of real images${unfit && ` (skipped: ${unfit})`}`, () => {
  const engine = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(podman ?? "", args, { encoding: "utf8" })
    if (status !== 0) throw new Error(`podman ${args[0]}: ${stderr}`)
    return stdout.trim()
  }
  const images: string[] = []
  beforeAll(() => {
    const example = join(import.meta.dirname, "..", "..", "examples", "parcel-sorting-flawed")
    const build = ["build", "--quiet", "--network", "none", "--file", join(example, "server", "Dockerfile"), example]
    images.push(engine(...build))
  }, 180_000)
  afterAll(() => {
    for (const image of images) engine("rmi", "--force", image)
  })

  test.each([
    ["the examples' base", () => BASE],
    ["the flawed example", () => images[0] ?? ""],
  ])(
    "%s",
    async (_, name) => {
      const file = join(folder, "saved.tar")
      rmSync(file, { force: true })
      engine("save", "--format", "docker-archive", "--output", file, name())
      const { sizeBytes } = await expectAgreement(file)
      expect(sizeBytes).toBeGreaterThan(50_000_000)
    },
    180_000,
  )
})
