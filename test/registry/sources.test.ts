// One image from every source there is: the verdicts are the same, of both tools.
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Report } from "@envidence/core"
import { main as emitMain } from "@envidence/emit"
import { openImage, parseImageReference } from "@envidence/oci"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { refusal } from "../../packages/oci/test/layers.ts"
import { expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { buildState, newFolder, removeFolders } from "../bundles/state.ts"
import { verify } from "../bundles/verifying.ts"
import { type Distribution, missingRegistry, pushLayout, startDistribution } from "./distribution.ts"
import { type EngineService, missingDocker, missingPodman, startDocker, startPodman } from "./engines.ts"
import { dockerArchive, NAME, ociArchive } from "./image-files.ts"

const { state, bundle, keyFile } = await newFixture()
const other = await buildState({ labels: { other: "1" } })
const temporary = newFolder()
const stopping: { stop(): Promise<void> }[] = []
afterAll(async () => {
  for (const each of stopping) await each.stop()
  removeFolders()
}, 60_000)

function file(content: Buffer): string {
  const path = join(newFolder(), "image.tar")
  writeFileSync(path, content)
  return path
}

type Environment = Readonly<Record<string, string>>

const verifyFrom = (image: string, env: Environment = {}) =>
  verify(bundle, ["--key", keyFile, "--policy", "demo", "--image", image], { env })

async function checkFrom(image: string, env: Environment = {}): Promise<{ exitCode: number; report: Report }> {
  let stdout = ""
  const exitCode = await emitMain(["check", image, "--policy", "demo", "--format", "json", "--progress", "none"], {
    stdout: text => {
      stdout += text
    },
    stderr: () => {},
    isTerminal: false,
    env,
    now: () => new Date(),
    signal: new AbortController().signal,
    nodePath: process.execPath,
    nodeVersion: process.versions.node,
    temporaryDirectory: temporary,
  })
  return { exitCode, report: JSON.parse(stdout) }
}

const verdicts = ({ findings }: Report) =>
  findings.map(({ id, outcome, assurance, because }) => ({ id, outcome, assurance, because }))

const fromFolder = {
  verify: verdicts(expectVerdict(await verifyFrom(`oci:${state.imageDirectory}`), 0)),
  check: verdicts((await checkFrom(`oci:${state.imageDirectory}`)).report),
}

/** The same verdicts; the image named by its manifest, or by its config where the source keeps none. */
async function expectSame(image: string, named: "manifest" | "config", env: Environment = {}): Promise<void> {
  const report = expectVerdict(await verifyFrom(image, env), 0)
  expect(verdicts(report)).toEqual(fromFolder.verify)
  const because = report.bindings.find(({ id }) => id === "expected-image")?.because
  const digest = named === "manifest" ? state.imageDigest : JSON.parse(manifestText()).config.digest
  expect(because).toContain(named === "manifest" ? `named: ${digest}` : `by its config: ${digest}`)
  const checked = await checkFrom(image, env)
  expect(verdicts(checked.report)).toEqual(fromFolder.check)
  const bindings = Object.fromEntries(checked.report.bindings.map(binding => [binding.id, binding]))
  expect(bindings.image?.because).toContain(digest)
  expect(bindings.image?.outcome).toBe(named === "manifest" ? "holds" : "not-checked")
  expect(bindings["image-from-source"]?.outcome).toBe("not-checked")
  expect(bindings.platforms).toMatchObject({ outcome: "holds", because: "1 of 1 (linux/amd64)" })
  expect(readdirSync(temporary)).toEqual([])
}

const manifestText = () =>
  readFileSync(join(state.imageDirectory, "blobs", "sha256", state.imageDigest.slice(7)), "utf8")

describe("files", () => {
  test("oci-archive", () => expectSame(`oci-archive:${ociArchive(state)}`, "manifest"))
  test("docker-archive", () => expectSame(`docker-archive:${file(dockerArchive(state))}`, "config"))
  test("docker-archive, by name", () => expectSame(`docker-archive:${file(dockerArchive(state))}:${NAME}`, "config"))
  test("of another image are refused, by digest and by config", async () => {
    const byConfig = await verifyFrom(`docker-archive:${file(dockerArchive(other))}`)
    expect(expectRefusal(byConfig, 6, "subject-mismatch").error?.message).toMatch(/by its config/)
    expectRefusal(await verifyFrom(`oci-archive:${ociArchive(other)}`), 6, "subject-mismatch")
  })
})

const lacks = (what: string) => (what === "" ? "" : ` (skipped: there is no ${what})`)

describe.skipIf(missingRegistry !== "")(`a registry${lacks(missingRegistry)}`, () => {
  let registry: Distribution
  beforeAll(async () => {
    registry = await startDistribution()
    stopping.push(registry)
    await pushLayout(state.imageDirectory, registry.host, { repository: "tiny", tag: "1" })
  }, 600_000)
  test("by tag", () => expectSame(`${registry.host}/tiny:1`, "manifest"))
  test("by digest", () => expectSame(`${registry.host}/tiny@${state.imageDigest}`, "manifest"))
})

const engines = [
  ["podman", "CONTAINER_HOST", missingPodman, startPodman],
  ["docker", "DOCKER_HOST", missingDocker, startDocker],
] as const

for (const [engine, variable, missing, start] of engines)
  describe.skipIf(missing !== "")(`${engine}${lacks(missing)}`, () => {
    let service: EngineService
    let env: Environment
    beforeAll(async () => {
      service = await start()
      stopping.push(service)
      env = { [variable]: `unix://${service.socket}` }
      await service.load(dockerArchive(state))
    }, 60_000)
    const open = (name: string, change: Environment = {}) =>
      openImage(parseImageReference(`${engine}:${name}`), { env: { ...env, ...change }, temporaryDirectory: temporary })

    test("by name", () => expectSame(`${engine}:${NAME}`, "config", env))
    test("by id", () => expectSame(`${engine}:${JSON.parse(manifestText()).config.digest.slice(7)}`, "config", env))
    test("does not know others", async () => {
      expect((await refusal(open("localhost/none:1"))).code).toBe("input-not-found")
    })
    test("is asked only where it listens", async () => {
      for (const address of ["unix:///nonexistent", `unix://${tmpdir()}`])
        expect((await refusal(open(NAME, { [variable]: address }))).code).toBe("engine-failed")
      for (const address of ["tcp://127.0.0.1:1", "ssh://root@example.com", "unix://relative"])
        expect((await refusal(open(NAME, { [variable]: address }))).code).toBe("usage")
      expect(readdirSync(temporary)).toEqual([])
    })
  })
