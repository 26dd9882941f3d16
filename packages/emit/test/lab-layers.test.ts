// What two builds, and a build after a change, look like on a real engine: no base image and no network are needed.
import { createCipheriv } from "node:crypto"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { buildImageView, criteria, EvidenceError, type Judgement, schemaViolation } from "@envidence/core"
import {
  BoundedLog,
  buildImage,
  defaultSourceDateEpoch,
  type Engine,
  environmentDefaults,
  type Lab,
  type Measurement,
  measuredCriteria,
  openEngine,
} from "@envidence/emit"
import { inventoriesOf, inventoryImage, openOciLayout } from "@envidence/oci"
import { afterAll, describe, expect, it } from "vitest"

const [reproducibleBuild, layerChangeIsolation] = measuredCriteria
// Not in /tmp, which is often kept in memory.
const parent = mkdtempSync("/var/tmp/lab-layers-")
const log = new BoundedLog()
const signal = new AbortController().signal
const options = { parentDirectory: parent, env: process.env, nodePath: process.execPath, log, signal }

const opened = await openEngine("podman", options).catch((error: Error) => error)
const reason = opened instanceof Error ? opened.message : null
const engine = opened as Engine

afterAll(async () => {
  if (reason === null) await engine.close()
  rmSync(parent, { recursive: true, force: true })
})

const submission = {
  dockerfile: "Dockerfile",
  buildArgs: {},
  network: "none",
  sourceDateEpoch: defaultSourceDateEpoch,
} as const

type Files = Readonly<Record<string, string | Uint8Array>>

function write(context: string, files: Files): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(context, path)), { recursive: true })
    writeFileSync(join(context, path), content)
  }
}

async function inventory(directory: string) {
  const layout = await openOciLayout(directory)
  return buildImageView({ ...layout, layers: inventoriesOf(await inventoryImage(layout)) })
}

/** A lab whose image was built from these files; what is staged next is what lies in `context` by then. */
async function labOf(files: Files): Promise<{ lab: Lab; context: string }> {
  const context = mkdtempSync(join(parent, "context-"))
  write(context, files)
  const stage = async (destination: string) => cpSync(context, destination, { recursive: true })
  const image = await buildImage({ engine, stage, log, signal, submission })
  const more = { environment: environmentDefaults, seeds: [], log, signal }
  return { lab: { engine, image, submission, inventory, stage, ...more }, context }
}

/** Judges what was measured, as a report would. */
function judge(id: string, measurement: Measurement<unknown>, { image }: Lab): Judgement {
  const criterion = criteria.get(id)
  if (criterion === undefined || "unmeasured" in measurement) throw new Error(JSON.stringify(measurement))
  const document = { criterion: id, revision: criterion.revision, facts: measurement.facts }
  expect(schemaViolation(criterion.schema, document)).toBeUndefined()
  const thresholds = Object.fromEntries(Object.entries(criterion.thresholds).map(([name, t]) => [name, t.default]))
  return criterion.judge(measurement.facts, thresholds, {
    ...{
      imageDigest: image.manifestDigest,
      configDigest: image.configDigest,
      sbomDigest: null,
      builtFromSubmission: true,
      seeds: [],
    },
    signature: "to-be-signed",
  })
}

const APPLICATION = { "app.py": "print()\n", a: "a", b: "b", c: "c" }
const COMMAND = 'CMD ["python", "/app/app.py"]\n'

describe.skipIf(reason !== null)(`layers on podman${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
  it("a change of the file that is copied last moves one layer", async () => {
    const Dockerfile = `FROM scratch\nCOPY a /a\nCOPY b /b\nCOPY app.py /app/\n${COMMAND}`
    const { lab } = await labOf({ ...APPLICATION, Dockerfile })
    const measured = await layerChangeIsolation.measure(lab)
    expect(judge("layer-change-isolation", measured, lab)).toMatchObject({
      outcome: "pass",
      observed: { file: "app.py", chosen: "started-by-command", moved: [2], judgedImageRebuilt: true },
    })
  }, 60_000)

  it("a change of the file that is copied first moves all above, and the line is named", async () => {
    const Dockerfile = `FROM scratch\nCOPY a /a\nCOPY app.py /app/\nCOPY b /b\nCOPY c /c\n${COMMAND}`
    const { lab } = await labOf({ ...APPLICATION, Dockerfile })
    const before = readdirSync(engine.workDirectory)
    const measured = await layerChangeIsolation.measure(lab)
    expect(judge("layer-change-isolation", measured, lab)).toMatchObject({
      outcome: "fail",
      observed: { moved: [1, 2, 3], judgedImageRebuilt: true },
      remedy: expect.stringContaining("line 3 of Dockerfile"),
    })
    // What it built is kept by nobody.
    expect(
      readdirSync(engine.workDirectory).filter(name => !before.includes(name) && name.startsWith("choose")),
    ).toEqual([])
  }, 60_000)

  it("two layers that are large fail by their bytes", async () => {
    // Not to be compressed, and the same in every build.
    const assets = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(12_000_000))
    const { lab } = await labOf({
      "app.py": "print()\n",
      assets,
      Dockerfile: `FROM scratch\nCOPY . /app/\n${COMMAND}`,
    })
    const judgement = judge("layer-change-isolation", await layerChangeIsolation.measure(lab), lab)
    expect(judgement).toMatchObject({ outcome: "fail", observed: { moved: [0] } })
    expect(judgement.observed.bytes).toBeGreaterThan(10_000_000)
    expect(judgement.remedy).toContain("above line 2 of Dockerfile, which copies app.py")
  }, 60_000)

  it("a change that does not reach the image, or no file to change, is unmeasured", async () => {
    const { lab } = await labOf({
      ...{ "app.py": "print()\n", a: "a" },
      Dockerfile: `FROM scratch AS build\nCOPY app.py a /\nFROM scratch\nCOPY --from=build /a /a\n${COMMAND}`,
    })
    expect(judge("layer-change-isolation", await layerChangeIsolation.measure(lab), lab).outcome).toBe("unmeasured")
    const { lab: without } = await labOf({ a: "a", Dockerfile: "FROM scratch\nCOPY a /a\n" })
    expect(await layerChangeIsolation.measure(without)).toHaveProperty("unmeasured")
    expect(await layerChangeIsolation.measure({ ...lab, submission: null })).toHaveProperty("unmeasured")
  }, 60_000)

  it("an image that does not build with the change is unmeasured, an interrupted run is no answer", async () => {
    const { lab } = await labOf({ ...APPLICATION, Dockerfile: `FROM scratch\nCOPY app.py /app/\n${COMMAND}` })
    const { name, version, runtime, workDirectory } = engine
    const failing = (code: "engine-failed" | "interrupted"): Lab => ({
      ...lab,
      engine: Object.assign(Object.create(null), {
        ...{ name, version, runtime, workDirectory },
        build: () => Promise.reject(new EvidenceError(code, "flake8: E265 block comment")),
      }),
    })
    expect(await layerChangeIsolation.measure(failing("engine-failed"))).toEqual({
      unmeasured: "it does not build with a comment in app.py: flake8: E265 block comment",
    })
    await expect(layerChangeIsolation.measure(failing("interrupted"))).rejects.toMatchObject({ code: "interrupted" })
  }, 60_000)

  it("an image whose cache is gone is compared with a rebuild", async () => {
    const Dockerfile = `FROM scratch\nCOPY a /a\nCOPY app.py /app/\nCOPY b /b\n${COMMAND}`
    const { lab } = await labOf({ ...APPLICATION, a: "in no other image", Dockerfile })
    await engine.removeImage(lab.image.reference)
    const measured = await layerChangeIsolation.measure(lab)
    expect(judge("layer-change-isolation", measured, lab)).toMatchObject({
      outcome: "pass",
      observed: { moved: [1, 2], judgedImageRebuilt: false },
    })
  }, 60_000)

  it("what differs between two builds is explained by what is in the files", async () => {
    const bytecode = (mtime: number) => {
      const bytes = Buffer.concat([Buffer.from("cb0d0d0a", "hex"), Buffer.alloc(12), Buffer.from("code")])
      bytes.writeUInt32LE(mtime, 8)
      return bytes
    }
    const files = (round: number): Files => ({
      "a.pyc": bytecode(round),
      "b.pyc": bytecode(round),
      build: `made at 2026-01-02 03:04:0${round}\n`,
      "log/dpkg.log": `${round}`,
      other: `${"x".repeat(round)}`,
    })
    const Dockerfile = "FROM scratch\nCOPY a.pyc b.pyc /app/\nCOPY build other /etc/\nCOPY log /var/log\n"
    const { lab, context } = await labOf({ ...files(1), Dockerfile })
    write(context, files(2))
    const measured = await reproducibleBuild.measure(lab)
    const judgement = judge("reproducible-build", measured, lab)
    expect(judgement.observed.causes).toMatchObject({ "pyc-header": 2, "embedded-time": 1, log: 1, content: 1 })
    expect(judgement.parts[0]).toMatchObject({ id: "pyc-header" })
    expect(judgement.remedy).toContain("unchecked-hash")
    const last = judgement.parts.at(-1)
    expect(last?.because).toContain("follows from the others")
    if ("unmeasured" in measured) throw new Error(measured.unmeasured)
    const tree = Buffer.from(measured.artifacts[0]?.bytes ?? []).toString()
    expect(tree).toMatch(
      /^manifest {2}sha256:.*\n[\s\S]*├─ config [\s\S]*\n[├└]─ layer 0 .*\n│ {2}├─ app\/a\.pyc {2}pyc-header/,
    )
  }, 60_000)
})
