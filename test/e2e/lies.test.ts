// Bundles whose own signer lies: everything verifies, and the parts do not belong together. Exit code 6.
import { builtInPolicies, canonicalJson, type UnsignedState } from "@envidence/core"
import { afterAll, describe, expect, test } from "vitest"
import { expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { honestLayers, sha256 } from "../bundles/image.ts"
import { bytesOf, changedJson, type LooseJson, rewrite, rewriteObservation, text } from "../bundles/rewrite.ts"
import { signState } from "../bundles/signing.ts"
import { buildState, removeFolders } from "../bundles/state.ts"
import { honestFiles } from "../bundles/submission.ts"
import { verify } from "../bundles/verifying.ts"

const fixture = await newFixture()
const { state } = fixture
const otherImage = await buildState({ labels: {} })
afterAll(removeFolders)

const check = async (changed: UnsignedState, args = fixture.args) => verify(await signState(changed, fixture.key), args)

const row = (predicate: LooseJson, id: string): LooseJson =>
  predicate.criteria.find((candidate: { id: string }) => candidate.id === id)
const digest = (bytes: Uint8Array | string) => `sha256:${sha256(bytes)}`

test("a bundle that is only written anew is accepted", async () => {
  expectVerdict(await check(rewrite(state, {})), 0)
})

describe("previews", () => {
  test.each(Object.keys(builtInPolicies.demo.criteria))("%s flipped", async id => {
    const flip = (predicate: LooseJson) => (row(predicate, id).preview = "fail")
    const report = expectRefusal(await check(rewrite(state, { predicate: flip })), 6, "preview-disagrees")
    expect(report.bindings.at(-1)).toMatchObject({ id: "previews", outcome: "broken" })
  })
  test("a failure shown as a pass", async () => {
    const failing = await buildState({
      observe: {
        "seeded-determinism": facts => ({ ...facts, problems: [{ code: "not-ready", because: "no answer" }] }),
      },
    })
    const flip = (predicate: LooseJson) => (row(predicate, "seeded-determinism").preview = "pass")
    expectRefusal(await check(rewrite(failing, { predicate: flip })), 6, "preview-disagrees")
  })
  test("what nobody observes shown as a pass", async () => {
    const flip = (predicate: LooseJson) => (row(predicate, "reward-integrity").preview = "pass")
    expectRefusal(await check(rewrite(state, { predicate: flip })), 6, "preview-disagrees")
  })
  test("what was skipped shown as a pass", async () => {
    const skipping = await buildState({ skip: ["seeded-determinism"] })
    const flip = (predicate: LooseJson) => (row(predicate, "seeded-determinism").preview = "pass")
    expectRefusal(await check(rewrite(skipping, { predicate: flip })), 6, "preview-disagrees")
  })
})

describe("observations", () => {
  const lies: Readonly<Record<string, (facts: LooseJson) => void>> = {
    "oci-labels": ({ labels }) => (labels["org.opencontainers.image.vendor"] = "Somebody"),
    "multi-stage-hygiene": facts => facts.entries--,
    "archive-free-layout": facts => (facts.largest = []),
    "composition-inspection": ({ dive }) => (dive.efficiency = 1.5),
    "resource-declarations": ({ declared }) => (declared.cpu.value = 2),
    "signature-and-sbom": ({ sbom }) => sbom.components++,
  }
  test.each(Object.entries(lies))("a static one altered: %s", async (id, lie) => {
    const changed = rewriteObservation(state, id, ({ facts }) => lie(facts))
    const report = expectRefusal(await check(changed), 6, "observation-disagrees")
    expect(report.error?.message).toContain(id)
  })
  test("one that denies the nondeterminism which openenv.yaml declares", async () => {
    const yaml = honestFiles["openenv.yaml"]?.replace("validation:", "validation:\n  reward: {variance_tolerance: 0.5}")
    const declared = await buildState({ files: { ...honestFiles, "openenv.yaml": yaml ?? "" } })
    const changed = rewriteObservation(declared, "seeded-determinism", ({ facts }) => {
      facts.declaredNondeterministic = false
    })
    const told = fixture.args.map(arg => (arg.startsWith("sha256:") ? declared.imageDigest : arg))
    const report = expectRefusal(await verify(await signState(changed, fixture.key), told), 6, "observation-disagrees")
    expect(report.error?.message).toContain("seeded-determinism")
  })
  test("one that the predicate does not name", async () => {
    const unname = (predicate: LooseJson) => (row(predicate, "oci-labels").observation = null)
    expectRefusal(await check(rewrite(state, { predicate: unname })), 6, "inconsistent-bundle")
  })
  test("one of a criterion that the predicate leaves out", async () => {
    const leaveOut = (predicate: LooseJson) => {
      predicate.criteria = predicate.criteria.filter(({ id }: { id: string }) => id !== "oci-labels")
    }
    expectRefusal(await check(rewrite(state, { predicate: leaveOut })), 6, "inconsistent-bundle")
  })
  test("one that is named and absent", async () => {
    const changed = rewrite(state, { members: { "observations/oci-labels.json": null } })
    const report = expectRefusal(await check(changed), 6, "inconsistent-bundle")
    expect(report.error?.message).toContain("oci-labels")
  })
  test("one under another digest", async () => {
    const rename = (predicate: LooseJson) => (row(predicate, "oci-labels").observation = digest("other"))
    expectRefusal(await check(rewrite(state, { predicate: rename })), 6, "inconsistent-bundle")
  })
  test("one under another revision", async () => {
    const raise = (predicate: LooseJson) => row(predicate, "oci-labels").revision++
    expectRefusal(await check(rewrite(state, { predicate: raise })), 6, "inconsistent-bundle")
  })
  test("a criterion listed twice", async () => {
    const double = (predicate: LooseJson) => predicate.criteria.push({ ...predicate.criteria[0], preview: "fail" })
    expectRefusal(await check(rewrite(state, { predicate: double })), 6, "inconsistent-bundle")
  })
})

describe("subjects", () => {
  const cases: readonly [string, (statement: LooseJson) => void][] = [
    ["another image", s => (s.subject[0].digest.sha256 = sha256("other"))],
    [
      "another image, in the predicate too",
      s => {
        s.subject[0].digest.sha256 = sha256("other")
        s.predicate.image.digest = digest("other")
      },
    ],
    ["another image in the predicate alone", s => (s.predicate.image.digest = digest("other"))],
    ["another submission", s => (s.subject[1].digest.sha256 = sha256("other"))],
    [
      "another submission, in the predicate too",
      s => {
        s.subject[1].digest.sha256 = sha256("other")
        s.predicate.submission.digest = digest("other")
      },
    ],
    ["another kind of submission", s => (s.predicate.submission.kind = "image")],
    ["no submission in the predicate", s => (s.predicate.submission = null)],
    ["one subject more", s => s.subject.push({ name: "image-2", digest: { sha256: sha256("victim") } })],
    ["the image under another name", s => (s.subject[0].name = "img")],
    ["the image twice, and no submission", s => (s.subject[1] = s.subject[0])],
  ]
  test.each(cases)("%s", async (_, statement) => {
    expectRefusal(await check(rewrite(state, { statement })), 6, "inconsistent-bundle")
  })
})

describe("the image", () => {
  test("a config of another image", async () => {
    const config = bytesOf(otherImage.members, "image/config.json")
    const changed = rewrite(state, {
      members: { "image/config.json": config },
      predicate: predicate => (predicate.image.configDigest = digest(config)),
    })
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("another config in the predicate", async () => {
    const predicate = ({ image }: LooseJson) => (image.configDigest = digest("other"))
    expectRefusal(await check(rewrite(state, { predicate })), 6, "inconsistent-bundle")
  })
  test("another platform in the predicate", async () => {
    const predicate = ({ image }: LooseJson) => (image.platform = "linux/arm64")
    expectRefusal(await check(rewrite(state, { predicate })), 6, "inconsistent-bundle")
  })
  test.each([0, 1, 2])("without the inventory of layer %i", async layer => {
    const changed = rewrite(state, { members: { [`image/layers/${layer}.jsonl`]: null } })
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("with an inventory too many", async () => {
    const path = "image/layers/3.jsonl"
    const changed = rewrite(state, { members: { [path]: "" }, roles: { [path]: "layer-inventory" } })
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("with a layer's inventory under two names", async () => {
    const path = "image/layers/00.jsonl"
    const bytes = bytesOf(state.members, "image/layers/0.jsonl")
    const changed = rewrite(state, { members: { [path]: bytes }, roles: { [path]: "layer-inventory" } })
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
})

describe("the submission", () => {
  const submission = (change: (document: LooseJson) => void) =>
    rewrite(state, { members: { "submission.json": changedJson(state, "submission.json", change) } })

  test("a text that does not hash to its row", async () => {
    const changed = submission(({ texts }) => (texts[0].text = texts[0].text.replace("cpu: 1", "cpu: 2")))
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("a text of no file", async () => {
    const changed = submission(({ texts }) => texts.push({ path: "envidence.yaml", text: "" }))
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test.each([null, "server/Dockerfile", "app/server.py"])("with the Dockerfile %s", async dockerfile => {
    const changed = submission(document => (document.dockerfile = dockerfile))
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("without the Dockerfile's text", async () => {
    const changed = submission(document => (document.texts = document.texts.slice(0, 1)))
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("a list with another digest", async () => {
    expectRefusal(await check(submission(({ files }) => (files[0].sha256 = sha256("other")))), 6, "inconsistent-bundle")
  })
  test("a list with a file less", async () => {
    expectRefusal(await check(submission(({ files }) => files.pop())), 6, "inconsistent-bundle")
  })
  test("a file listed twice, in its digest too", async () => {
    const double = changedJson(state, "submission.json", ({ files }) => files.push(files[0]))
    const named = digest(canonicalJson(JSON.parse(double).files))
    const changed = rewrite(state, {
      members: { "submission.json": double },
      statement: statement => {
        statement.subject[1].digest.sha256 = named.slice(7)
        statement.predicate.submission.digest = named
      },
    })
    const report = expectRefusal(await check(changed), 6, "inconsistent-bundle")
    expect(report.error?.message).toContain("twice")
  })
})

describe("the SBOM", () => {
  const otherSbom = bytesOf(otherImage.members, "sbom.cdx.json")
  test("swapped", async () => {
    expectRefusal(await check(rewrite(state, { members: { "sbom.cdx.json": otherSbom } })), 6, "inconsistent-bundle")
  })
  test("swapped, in the predicate too", async () => {
    const changed = rewrite(state, {
      members: { "sbom.cdx.json": otherSbom },
      predicate: predicate => (predicate.sbom.digest = digest(otherSbom)),
    })
    expectRefusal(await check(changed), 6, "observation-disagrees")
  })
  test("left out", async () => {
    expectRefusal(await check(rewrite(state, { members: { "sbom.cdx.json": null } })), 6, "inconsistent-bundle")
  })
  test("left out, in the predicate too", async () => {
    const changed = rewrite(state, {
      members: { "sbom.cdx.json": null },
      predicate: predicate => (predicate.sbom = null),
    })
    expectRefusal(await check(changed), 6, "observation-disagrees")
  })
  const shapes = [
    "null",
    "[]",
    "0",
    '"x"',
    '{"components":[null]}',
    '{"metadata":{"properties":[null,0]}}',
    '{"metadata":0}',
  ]
  test.each(shapes)("of a shape that no SBOM has: %s", async sbom => {
    const changed = rewrite(state, {
      members: { "sbom.cdx.json": sbom },
      predicate: predicate => (predicate.sbom.digest = digest(sbom)),
    })
    expectRefusal(await check(changed), 6, "observation-disagrees")
  })
})

describe("the policy", () => {
  const policy = (change: (document: LooseJson) => void) => changedJson(state, "policy.json", change)
  const bound = (bytes: string) =>
    rewrite(state, {
      members: { "policy.json": bytes },
      predicate: predicate => {
        const { id, version } = JSON.parse(bytes)
        predicate.policy = { id, version, digest: digest(canonicalJson(JSON.parse(bytes))) }
      },
    })

  test("swapped", async () => {
    const changed = rewrite(state, { members: { "policy.json": canonicalJson(builtInPolicies.default) } })
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("with another digest in the predicate", async () => {
    const predicate = (document: LooseJson) => (document.policy.digest = digest("other"))
    expectRefusal(await check(rewrite(state, { predicate })), 6, "inconsistent-bundle")
  })
  test("with another version in the predicate", async () => {
    const predicate = (document: LooseJson) => (document.policy.version = "2")
    expectRefusal(await check(rewrite(state, { predicate })), 6, "inconsistent-bundle")
  })
  test("of the contributor's own, bound, decides nothing", async () => {
    const lax = policy(document => Object.assign(document, { id: "mine", criteria: {} }))
    expectVerdict(await check(bound(lax)), 0)
    const { report } = await check(bound(lax), [...fixture.args.slice(0, -1), "default"])
    expect([report?.exitCode, report?.policy?.id]).toEqual([3, "default"])
  })
  test("looser than the catalogue's bounds, bound", async () => {
    for (const thresholds of [{ residues: 9 }, { residues: "none" }, { entries: 1 }]) {
      const loose = policy(({ criteria }) => (criteria["multi-stage-hygiene"] = { required: true, thresholds }))
      expectRefusal(await check(bound(loose)), 6, "inconsistent-bundle")
    }
  })
})

describe("the snapshot", () => {
  const snapshot = (change: (document: LooseJson) => void, bind: (predicate: LooseJson, bytes: string) => void) => {
    const bytes = changedJson(state, "snapshot.json", change)
    return rewrite(state, { members: { "snapshot.json": bytes }, predicate: predicate => bind(predicate, bytes) })
  }
  const bindDigest = (predicate: LooseJson, bytes: string) => (predicate.snapshot.digest = digest(bytes))

  test("altered", async () => {
    const changed = snapshot(
      ({ fields }) => (fields[0].value = "Plan 9"),
      () => {},
    )
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("with another fingerprint", async () => {
    const changed = snapshot(document => (document.fingerprint = digest("other")), bindDigest)
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("with another fingerprint, in the predicate too", async () => {
    const changed = snapshot(
      document => (document.fingerprint = digest("other")),
      (predicate, bytes) => {
        bindDigest(predicate, bytes)
        predicate.snapshot.fingerprint = digest("other")
      },
    )
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
  test("with another machine's identifying field", async () => {
    const changed = snapshot(({ fields }) => (fields[1].value = "cd".repeat(32)), bindDigest)
    expectRefusal(await check(changed), 6, "inconsistent-bundle")
  })
})

describe("an inventory that is not what the layer holds", () => {
  // The layer holds a private key; the inventory says that it is text.
  const key = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n"
  const layers = [...honestLayers, { "app/tls.key": key }]

  test("is taken on the signer's word, or found with the layers", async () => {
    const honest = await buildState({ layers })
    const path = "image/layers/3.jsonl"
    const lie = text(bytesOf(honest.members, path)).replace('"private-key"', '"text"')
    // What the inventory gives must agree with it: a liar states all of it anew.
    const hygiene = JSON.parse(text(bytesOf(honest.members, "observations/multi-stage-hygiene.json")))
    const observations: Readonly<Record<string, string>> = {
      "multi-stage-hygiene": JSON.stringify({ ...hygiene, facts: { ...hygiene.facts, residues: [] } }),
      ...Object.fromEntries(
        ["archive-free-layout", "composition-inspection"].map(id => {
          const observation = text(bytesOf(honest.members, `observations/${id}.json`))
          return [id, observation.replaceAll('"private-key"', '"text"')]
        }),
      ),
    }
    const changed = rewrite(honest, {
      members: {
        [path]: lie,
        ...Object.fromEntries(Object.entries(observations).map(([id, lied]) => [`observations/${id}.json`, lied])),
      },
      predicate: predicate => {
        for (const [id, lied] of Object.entries(observations))
          Object.assign(row(predicate, id), { observation: digest(lied), preview: "pass" })
      },
    })
    const args = (...subject: string[]) => ["--key", fixture.keyFile, "--policy", "demo", ...subject]
    const report = expectVerdict(await check(changed, args("--image-digest", honest.imageDigest)), 0)
    expect(report.findings.find(({ id }) => id === "multi-stage-hygiene")?.assurance).toBe("attested")
    const refusal = expectRefusal(
      await check(changed, args("--image", `oci:${honest.imageDirectory}`)),
      6,
      "observation-disagrees",
    )
    expect(refusal.error?.message).toContain("layer 3 app/tls.key")
  })
  test("an SBOM by another release of the generator is no lie, and stays the signer's word", async () => {
    const older = (document: LooseJson) => (document.metadata.tools.components[0].version = "0")
    const sbom = changedJson(state, "sbom.cdx.json", older)
    const observation = JSON.parse(text(bytesOf(state.members, "observations/signature-and-sbom.json")))
    observation.facts.sbom.digest = digest(sbom)
    const bytes = JSON.stringify(observation)
    const changed = rewrite(state, {
      members: { "sbom.cdx.json": sbom, "observations/signature-and-sbom.json": bytes },
      predicate: predicate => {
        predicate.sbom.digest = digest(sbom)
        row(predicate, "signature-and-sbom").observation = digest(bytes)
      },
    })
    const args = ["--key", fixture.keyFile, "--policy", "demo", "--image", `oci:${state.imageDirectory}`]
    const { findings } = expectVerdict(await check(changed, args), 0)
    expect(findings.find(({ id }) => id === "signature-and-sbom")?.assurance).toBe("attested")
    expect(findings.find(({ id }) => id === "multi-stage-hygiene")?.assurance).toBe("derived")
  })
  test("an SBOM that is not what the layers give, stated consistently", async () => {
    const sbom = changedJson(state, "sbom.cdx.json", document => document.components.pop())
    const observation = JSON.parse(text(bytesOf(state.members, "observations/signature-and-sbom.json")))
    const { byType } = observation.facts.sbom
    const [lost] = Object.keys(byType).filter(
      type => !JSON.stringify(JSON.parse(sbom).components).includes(`pkg:${type}/`),
    )
    observation.facts.sbom = { ...observation.facts.sbom, digest: digest(sbom), components: 1 }
    delete byType[lost ?? ""]
    const bytes = JSON.stringify(observation)
    const changed = rewrite(state, {
      members: { "sbom.cdx.json": sbom, "observations/signature-and-sbom.json": bytes },
      predicate: predicate => {
        predicate.sbom.digest = digest(sbom)
        row(predicate, "signature-and-sbom").observation = digest(bytes)
      },
    })
    expectVerdict(await check(changed), 0)
    const args = ["--key", fixture.keyFile, "--policy", "demo", "--image", `oci:${state.imageDirectory}`]
    expectRefusal(await check(changed, args), 6, "observation-disagrees")
  })
})
