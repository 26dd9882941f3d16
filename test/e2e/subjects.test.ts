// What the evidence must be about: the verifier says it, and evidence for something else is refused.
import { cpSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { expectNoReport, expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { bytesOf, text } from "../bundles/rewrite.ts"
import { signState } from "../bundles/signing.ts"
import { buildState, newFolder, removeFolders } from "../bundles/state.ts"
import { honestFiles } from "../bundles/submission.ts"
import { verify } from "../bundles/verifying.ts"

const { state, bundle, key, keyFile } = await newFixture()
const other = await buildState({ labels: {}, files: { Dockerfile: "FROM scratch\n" } })
afterAll(removeFolders)

const check = (...subject: string[]) => verify(bundle, ["--key", keyFile, "--policy", "demo", ...subject])
const image = (directory: string) => ["--image", `oci:${directory}`]

describe("the right one", () => {
  test("image by digest", async () => {
    const report = expectVerdict(await check("--image-digest", state.imageDigest), 0)
    expect(report.bindings).toContainEqual(expect.objectContaining({ id: "expected-image", outcome: "holds" }))
    expect(report.bindings).toContainEqual(
      expect.objectContaining({ id: "expected-submission", outcome: "not-checked" }),
    )
  })
  test("submission by its checkout", async () => {
    const report = expectVerdict(await check("--submission", state.submissionDirectory), 0)
    expect(report.bindings).toContainEqual(expect.objectContaining({ id: "expected-submission", outcome: "holds" }))
    expect(report.bindings).toContainEqual(expect.objectContaining({ id: "expected-image", outcome: "not-checked" }))
  })
  test("another clone of the checkout, with .git", async () => {
    const clone = join(newFolder(), "clone")
    cpSync(state.submissionDirectory, clone, { recursive: true })
    cpSync(state.submissionDirectory, join(clone, ".git"), { recursive: true })
    expectVerdict(await check("--submission", clone), 0)
  })
  test("any, if that is asked", async () => {
    const report = expectVerdict(await check("--any-subject-unsafe"), 0)
    expect(report.bindings).toContainEqual(expect.objectContaining({ id: "expected-image", outcome: "not-checked" }))
  })
  test("the image with its layers: what they decide is derived", async () => {
    const report = expectVerdict(await check(...image(state.imageDirectory)), 0)
    const assurance = Object.fromEntries(report.findings.map(finding => [finding.id, finding.assurance]))
    expect(assurance).toMatchObject({
      "multi-stage-hygiene": "derived",
      "signature-and-sbom": "derived",
      "oci-labels": "derived",
      "resource-declarations": "derived",
      "reproducible-build": "attested",
      "seeded-determinism": "attested",
      "reward-integrity": "missing",
    })
  })
  test("without the layers, what they decide is the signer's word", async () => {
    const report = expectVerdict(await check("--image-digest", state.imageDigest), 0)
    for (const id of ["multi-stage-hygiene", "signature-and-sbom"])
      expect(report.findings.find(finding => finding.id === id)?.assurance).toBe("attested")
  })
})

describe("another", () => {
  const cases: readonly [string, readonly string[]][] = [
    ["image by digest", ["--image-digest", other.imageDigest]],
    ["image by layout", image(other.imageDirectory)],
    ["submission", ["--submission", other.submissionDirectory]],
    ["submission of the right image", ["--image-digest", state.imageDigest, "--submission", other.submissionDirectory]],
    ["image of the right submission", ["--submission", state.submissionDirectory, ...image(other.imageDirectory)]],
  ]
  test.each(cases)("%s", async (_, args) => {
    const report = expectRefusal(await check(...args), 6, "subject-mismatch")
    expect(report.error?.message).toMatch(/expected sha256:[0-9a-f]{64}, found sha256:[0-9a-f]{64}$/)
    expect(report.bindings.at(-1)).toMatchObject({ outcome: "broken" })
  })
  test("a checkout with one byte more", async () => {
    const clone = join(newFolder(), "clone")
    cpSync(state.submissionDirectory, clone, { recursive: true })
    writeFileSync(join(clone, "app", "server.py"), "print('hello')\n\n")
    expectRefusal(await check("--submission", clone), 6, "subject-mismatch")
  })
  test("a checkout with another Dockerfile, which .dockerignore would leave out", async () => {
    const files = { ...honestFiles, ".dockerignore": "Dockerfile\n" }
    const ignoring = await buildState({ files })
    const clone = join(newFolder(), "clone")
    cpSync(ignoring.submissionDirectory, clone, { recursive: true })
    writeFileSync(join(clone, "Dockerfile"), "FROM evil\n")
    const told = ["--key", keyFile, "--policy", "demo", "--submission"]
    const signed = await signState(ignoring, key)
    expectVerdict(await verify(signed, [...told, ignoring.submissionDirectory]), 0)
    expectRefusal(await verify(signed, [...told, clone]), 6, "subject-mismatch")
  })
  test("a checkout without a Dockerfile", async () => {
    const folder = newFolder()
    writeFileSync(join(folder, "README.md"), "Another project\n")
    expectRefusal(await check("--submission", folder), 6, "subject-mismatch")
  })
  test("a checkout with a file more", async () => {
    const clone = join(newFolder(), "clone")
    cpSync(state.submissionDirectory, clone, { recursive: true })
    writeFileSync(join(clone, "more"), "")
    expectRefusal(await check("--submission", clone), 6, "subject-mismatch")
  })
})

describe("a layout that is damaged", () => {
  const damaged = (change: (directory: string, layer: string) => void): string[] => {
    const directory = join(newFolder(), "image")
    cpSync(state.imageDirectory, directory, { recursive: true })
    const { layers } = JSON.parse(text(bytesOf(state.members, "image/manifest.json")))
    change(directory, join(directory, "blobs", "sha256", layers[1].digest.slice(7)))
    return image(directory)
  }
  test("a layer with another byte", async () => {
    const args = damaged((_, layer) => {
      const bytes = readFileSync(layer)
      bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20)
      writeFileSync(layer, bytes)
    })
    const run = await check(...args)
    expect(run.exitCode).toBe(4)
    expect(["digest-mismatch", "malformed-image"]).toContain(run.code)
    expect(run.report?.findings).toEqual([])
  })
  test("no layout at all", async () => {
    expectRefusal(
      await check(...damaged(directory => writeFileSync(join(directory, "oci-layout"), "{}"))),
      4,
      "malformed-image",
    )
  })
})

describe("wrong usage", () => {
  const cases: readonly [string, string, readonly string[]][] = [
    ["none", "no-subject-chosen", []],
    ["one, and any", "usage", ["--image-digest", state.imageDigest, "--any-subject-unsafe"]],
    ["two ways to one image", "usage", ["--image-digest", state.imageDigest, ...image(state.imageDirectory)]],
    ["a digest of another algorithm", "usage", ["--image-digest", `sha512:${"0".repeat(128)}`]],
    ["a digest in capitals", "usage", ["--image-digest", state.imageDigest.toUpperCase()]],
    ["a digest without sha256:", "usage", ["--image-digest", state.imageDigest.slice(7)]],
    ["an image in a registry, offline", "usage", ["--offline", "--image", "example.com/tiny:1"]],
    ["an image of no form", "usage", ["--image", "dir:/tmp/image"]],
    ["a layout that does not exist", "input-not-found", image("/nonexistent")],
    ["a checkout that does not exist", "input-not-found", ["--submission", "/nonexistent"]],
  ]
  test.each(cases)("%s: %s", async (_, code, args) => {
    expectNoReport(await check(...args), 2, code)
  })
})
