// emit-evidence judges an image that was given, from a source that is no layout; verify-evidence reads it from another.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { type Report, readBundle } from "@envidence/core"
import { main as emitMain } from "@envidence/emit"
import { nodeCompression, openOciLayout } from "@envidence/oci"
import { afterAll, describe, expect, test } from "vitest"
import { findProgram, findRuntime } from "../../scripts/prerequisites.ts"
import { newKeyPair } from "../bundles/signing.ts"
import { buildState, removeFolders } from "../bundles/state.ts"
import { verify, writeTemporary } from "../bundles/verifying.ts"
import { dockerArchive, ociArchive } from "./image-files.ts"

const missing = findProgram("podman") === undefined ? "podman" : findRuntime() === undefined ? "OCI runtime" : ""
const reason = missing === "" ? "" : ` (skipped: there is no ${missing})`

// Short: the engine's sockets lie below it.
const temporary = mkdtempSync("/var/tmp/g-")
const key = newKeyPair()
const privateKey = writeTemporary("private.pem", key.privateKeyPem)
const publicKey = writeTemporary("public.pem", key.publicKeyPem)
const state = await buildState()
afterAll(() => {
  rmSync(temporary, { recursive: true, force: true })
  removeFolders()
})

interface Emitted {
  readonly bundle: Buffer
  readonly report: Report
  readonly layout: string
}

async function emit(image: string): Promise<Emitted> {
  const output = join(temporary, "evidence-bundle.tar.gz")
  const layout = join(temporary, "layout")
  const options = ["--image", image, "--image-output", layout, "--key", privateKey, "--output", output, "--force"]
  let stdout = ""
  let stderr = ""
  const exitCode = await emitMain(
    [state.submissionDirectory, ...options, "--only", "oci-labels", "--format", "json", "--progress", "none"],
    {
      stdout: text => {
        stdout += text
      },
      stderr: text => {
        stderr += text
      },
      isTerminal: false,
      env: process.env,
      now: () => new Date(),
      signal: new AbortController().signal,
      nodePath: process.execPath,
      nodeVersion: process.versions.node,
      temporaryDirectory: temporary,
    },
  )
  // Nearly everything was skipped, and is required.
  expect([exitCode, stderr]).toEqual([3, ""])
  expect(readdirSync(temporary).sort()).toEqual(["evidence-bundle.tar.gz", "layout"])
  return { bundle: readFileSync(output), report: JSON.parse(stdout), layout }
}

const verifyWith = (bundle: Buffer, ...subject: string[]) =>
  verify(bundle, ["--key", publicKey, "--policy", "demo", "--submission", state.submissionDirectory, ...subject])

describe.skipIf(missing !== "")(`an image that was given${reason}`, () => {
  test("by an oci-archive keeps its digest, and is verified from a docker-archive too", async () => {
    const { bundle, report, layout } = await emit(`oci-archive:${ociArchive(state)}`)
    expect(report.bindings).toContainEqual(expect.objectContaining({ id: "image-from-source", outcome: "not-checked" }))
    expect((await openOciLayout(layout)).manifestDigest).toBe(state.imageDigest)
    const archive = writeTemporary("image.tar", dockerArchive(state))
    for (const subject of [
      ["--image-digest", state.imageDigest],
      ["--image", `docker-archive:${archive}`],
    ]) {
      const run = await verifyWith(bundle, ...subject)
      expect([run.exitCode, run.code]).toEqual([3, null])
      expect(run.report?.findings.find(({ id }) => id === "oci-labels")?.outcome).toBe("pass")
      expect(run.report?.bindings).toContainEqual(expect.objectContaining({ id: "expected-image", outcome: "holds" }))
    }
  }, 120_000)
  test("by a docker-archive is known by its config: its manifest says that it was made here", async () => {
    const archive = writeTemporary("image.tar", dockerArchive(state))
    const { bundle, report, layout } = await emit(`docker-archive:${archive}`)
    expect(report.bindings).toContainEqual(expect.objectContaining({ id: "image", outcome: "not-checked" }))
    const { members } = await readBundle(bundle, nodeCompression)
    expect(Buffer.from(members.get("image/manifest.json")?.bytes ?? []).toString()).toContain("dev.envidence.manifest")
    expect((await openOciLayout(layout)).manifestDigest).not.toBe(state.imageDigest)
    // The same image as the maintainer has it, under its own manifest: another, by its digest.
    expect((await verifyWith(bundle, "--image", `oci:${state.imageDirectory}`)).code).toBe("subject-mismatch")
    const run = await verifyWith(bundle, "--image", `docker-archive:${archive}`)
    expect([run.exitCode, run.code]).toEqual([3, null])
    expect(run.report?.findings.find(({ id }) => id === "oci-labels")).toMatchObject({ outcome: "pass" })
  }, 120_000)
})
