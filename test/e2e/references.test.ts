// What a bundle's documents point at is what is there. Exit code 6, whoever signed.
import type { UnsignedState } from "@envidence/core"
import { afterAll, describe, expect, test } from "vitest"
import { expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { sha256 } from "../bundles/image.ts"
import { bytesOf, changedJson, type LooseJson, rewrite, rewriteObservation } from "../bundles/rewrite.ts"
import { signState } from "../bundles/signing.ts"
import { buildState, removeFolders } from "../bundles/state.ts"
import { verify } from "../bundles/verifying.ts"

const fixture = await newFixture()
const { state } = fixture
afterAll(removeFolders)

const check = async (changed: UnsignedState) => verify(await signState(changed, fixture.key), fixture.args)
const refuse = async (changed: UnsignedState, why: string) =>
  expect(expectRefusal(await check(changed), 6, "inconsistent-bundle").error?.message).toContain(why)

describe("an image index", () => {
  const path = "image/index.json"
  const entry = (digest: string, architecture: string) => ({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest,
    size: bytesOf(state.members, "image/manifest.json").length,
    platform: { os: "linux", architecture },
  })
  const own = entry(state.imageDigest, "amd64")
  const other = entry(`sha256:${sha256("other")}`, "arm64")
  const withIndex = (manifests: readonly object[], named?: string | null): UnsignedState => {
    const bytes = JSON.stringify({ schemaVersion: 2, manifests })
    return rewrite(state, {
      members: { [path]: bytes },
      roles: { [path]: "image-index" },
      predicate: ({ image }) => (image.indexDigest = named === undefined ? `sha256:${sha256(bytes)}` : named),
    })
  }
  const platforms = async (changed: UnsignedState) =>
    expectVerdict(await check(changed), 0).bindings.find(({ id }) => id === "platforms")

  test("of this image alone", async () => {
    expect(await platforms(withIndex([own]))).toMatchObject({ outcome: "holds", because: "1 of 1 (linux/amd64)" })
  })
  test("with platforms that nobody judged, which the report counts", async () => {
    const found = await platforms(withIndex([own, other]))
    expect(found).toMatchObject({ outcome: "not-checked", because: "1 of 2 (linux/amd64)" })
  })
  const strange: readonly [string, object][] = [
    ["one without a platform", { ...other, platform: undefined }],
    ["one of an unknown platform", { ...other, platform: { os: "unknown", architecture: "unknown" } }],
    ["a nested index", { ...other, mediaType: "application/vnd.oci.image.index.v1+json", platform: undefined }],
  ]
  test.each(strange)("with %s, which the report counts", async (_, manifest) => {
    expect(await platforms(withIndex([own, manifest]))).toMatchObject({
      outcome: "not-checked",
      because: "1 of 2 (linux/amd64)",
    })
  })
  test("with an attestation, which is no image", async () => {
    const annotations = { "vnd.docker.reference.type": "attestation-manifest" }
    const attestation = { ...other, annotations, platform: { os: "unknown", architecture: "unknown" } }
    expect(await platforms(withIndex([own, attestation]))).toMatchObject({ outcome: "holds" })
  })
  const lying: readonly [string, object][] = [
    ["under another platform", { platform: { os: "linux", architecture: "arm64" } }],
    ["with another size", { size: 1 }],
    ["as a text", { mediaType: "text/plain" }],
  ]
  test.each(lying)("that lists it %s", async (_, lie) => refuse(withIndex([{ ...own, ...lie }]), "as what it is"))
  test("of other images", async () => refuse(withIndex([other]), "does not list the image"))
  test("that the predicate does not name", async () => refuse(withIndex([own], null), "another image index"))
  test("that is not there", async () => {
    const predicate = ({ image }: LooseJson) => (image.indexDigest = `sha256:${sha256("index")}`)
    await refuse(rewrite(state, { predicate }), "another image index")
  })
  test("judged on more platforms than it was", async () => {
    const predicate = ({ image }: LooseJson) => image.judgedPlatforms.push("linux/arm64")
    await refuse(rewrite(state, { predicate }), "platforms that nobody judged")
  })
})

describe("an observation's transcript", () => {
  const transcript = "artifacts/seeded-determinism/transcript.jsonl"
  const pointing = (sha: string, members: Readonly<Record<string, string>>) =>
    rewrite(
      rewriteObservation(state, "seeded-determinism", ({ facts }) => {
        facts.transcript = { path: transcript, sha256: sha }
      }),
      { members },
    )
  test("that is there", async () => {
    expectVerdict(await check(pointing(sha256("{}\n"), { [transcript]: "{}\n" })), 0)
  })
  test("of another content", async () => {
    await refuse(pointing(sha256("other"), { [transcript]: "{}\n" }), "artifact that is not there")
  })
  test("that is not there", async () => refuse(pointing(sha256("{}\n"), {}), "artifact"))
})

describe("a declaration", () => {
  const document = (change: (document: LooseJson) => void) =>
    rewrite(state, { members: { "submission.json": changedJson(state, "submission.json", change) } })
  test("whose text is left out", async () => {
    const leaveOut = (submission: LooseJson) => {
      submission.texts = submission.texts.filter(({ path }: { path: string }) => path !== "openenv.yaml")
    }
    await refuse(document(leaveOut), "leaves out its text")
  })
})

test("a policy's thresholds at another revision decide nothing here", async () => {
  const demo = JSON.parse(Buffer.from(bytesOf(state.members, "policy.json")).toString())
  demo.criteria["oci-labels"].thresholds = { somethingNew: 1 }
  const newer = await buildState({ policy: demo })
  await refuse(newer, "no threshold somethingNew")
  const changed = rewriteObservation(newer, "oci-labels", observation => observation.revision++)
  expectVerdict(await check(changed), 3)
})
