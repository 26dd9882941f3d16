// Evidence in order about an environment that does not meet the policy: exit code 3, and the finding says why.
import { builtInPolicies, canonicalJson, type PolicyDocument, type Report } from "@envidence/core"
import { afterAll, describe, expect, test } from "vitest"
import { expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { honestLabels, honestLayers, sha256 } from "../bundles/image.ts"
import { rewriteObservation } from "../bundles/rewrite.ts"
import { signState } from "../bundles/signing.ts"
import { buildState, type LooseFacts, removeFolders, type StateOptions } from "../bundles/state.ts"
import { honestFiles } from "../bundles/submission.ts"
import { verify, writeTemporary } from "../bundles/verifying.ts"

const { state, key, keyFile, bundle, args } = await newFixture()
afterAll(removeFolders)

const LICENSES = "org.opencontainers.image.licenses"
const required = Object.keys(builtInPolicies.demo.criteria)
const finding = (report: Report, id: string) => report.findings.find(candidate => candidate.id === id)

async function judge(options: StateOptions, policy = "demo"): Promise<Report> {
  const failing = await buildState(options)
  const told = ["--key", keyFile, "--image-digest", failing.imageDigest, "--policy", policy]
  return expectVerdict(await verify(await signState(failing, key), told), 3)
}

const yaml = (change: (text: string) => string) => ({
  files: { ...honestFiles, "openenv.yaml": change(honestFiles["openenv.yaml"] ?? "") },
})
const layered = (layer: Record<string, string>) => ({
  layers: [...honestLayers, layer],
  history: ["", "", "", "/bin/sh -c #(nop) COPY dir:3 in /app "],
})
const withRun = (change: (run: Record<string, unknown>) => unknown) => ({
  observe: {
    "seeded-determinism": (facts: { runs: Record<string, unknown>[] }) => ({
      ...facts,
      runs: facts.runs.map((run, i) => (i === 3 ? change(run) : run)),
    }),
  },
})

const withRuns = (change: (run: Record<string, unknown>, i: number) => unknown) => ({
  observe: {
    "seeded-determinism": (facts: { runs: Record<string, unknown>[] }) => ({ ...facts, runs: facts.runs.map(change) }),
  },
})

describe("an observation that contradicts itself fails", () => {
  const determinism = (change: (facts: LooseFacts) => unknown): StateOptions => ({
    observe: { "seeded-determinism": facts => ({ ...facts, ...(change(facts) as object) }) },
  })
  const build = (change: (facts: LooseFacts) => unknown): StateOptions => ({
    observe: { "reproducible-build": facts => ({ ...facts, ...(change(facts) as object) }) },
  })
  const difference = (seed: number, runs: [number, number]) => ({
    differences: [{ seed, runs, frame: 1, pointer: "/data/reward", first: "1", second: "2" }],
  })
  const inLayer = {
    layer: 0,
    path: "a",
    cause: "content",
    first: "1",
    second: "2",
    instruction: null,
    consequence: false,
  }
  const other = `sha256:${"0".repeat(64)}`
  const second = (change: object) => build(({ builds }) => ({ builds: [builds[0], { ...builds[1], ...change }] }))
  test.each<[string, string, StateOptions]>([
    ["seeded-determinism", "steps of equal traces", withRuns((run, i) => ({ ...run, steps: i + 1 }))],
    ["seeded-determinism", "ends of equal traces", withRuns((run, i) => ({ ...run, done: i % 2 === 0 }))],
    ["seeded-determinism", "first observations of equal traces", withRun(run => ({ ...run, first: "0".repeat(64) }))],
    ["seeded-determinism", "one trace for all seeds", withRuns(run => ({ ...run, trace: "0".repeat(64) }))],
    ["seeded-determinism", "an episode twice", determinism(({ runs }) => ({ runs: [...runs, runs[0]] }))],
    ["seeded-determinism", "a difference of equals", determinism(({ runs }) => difference(runs[0].seed, [0, 1]))],
    ["seeded-determinism", "a difference between seeds", determinism(({ runs }) => difference(runs[0].seed, [0, 4]))],
    ["seeded-determinism", "a difference of none", determinism(({ runs }) => difference(runs[0].seed, [0, 999]))],
    ["seeded-determinism", "a reward left out", determinism(() => ({ volatile: ["/data/reward"] }))],
    ["reproducible-build", "differences of equals", build(() => ({ differences: [inLayer] }))],
    ["reproducible-build", "more differences of equals", build(() => ({ omitted: 5 }))],
    ["reproducible-build", "an image that was not built here", { builtFromSubmission: false }],
    ["reproducible-build", "two configs of one manifest", second({ configDigest: other })],
    ["reproducible-build", "other layers of one manifest", second({ diffIds: [other] })],
    [
      "reproducible-build",
      "another config than the image's",
      build(({ builds }) => ({ builds: builds.map((one: object) => ({ ...one, configDigest: other })) })),
    ],
  ])("%s: %s", async (id, _, options) => {
    const found = finding(await judge(options), id)
    expect(found).toMatchObject({
      outcome: "fail",
      because: expect.stringMatching(/^the observation contradicts itself: /),
    })
  })
})

describe("one criterion fails, and no other", () => {
  const cases: readonly [string, string, StateOptions, RegExp][] = [
    ["oci-labels", "a label is missing", { labels: without("org.opencontainers.image.source") }, /image\.source/],
    [
      "oci-labels",
      "a label has nothing that is seen",
      { labels: { ...honestLabels, "org.opencontainers.image.source": "\u3164\u200b" } },
      /source/,
    ],
    [
      "oci-labels",
      "a label is blank",
      { labels: { ...honestLabels, "org.opencontainers.image.source": " " } },
      /source/,
    ],
    ["multi-stage-hygiene", "a .git folder", layered({ "app/.git/config": "[core]\n" }), /layer 3 app\/\.git.*vcs/],
    ["multi-stage-hygiene", "an .env file", layered({ "app/.env": "TOKEN=x\n" }), /layer 3 app\/\.env/],
    [
      "oci-labels",
      "a licence that is none",
      { labels: { ...honestLabels, [LICENSES]: "Apache 2" } },
      /no SPDX licence/,
    ],
    [
      "multi-stage-hygiene",
      "a key in a whiteout",
      layered({ "app/.wh.x": `-----BEGIN ${"PRIVATE"} KEY-----\nAAAA\n` }),
      /layer 3 app\/\.wh\.x: private-key/,
    ],
    ["multi-stage-hygiene", "a compiler", layered({ "usr/bin/gcc": "ELF" }), /layer 3 usr\/bin\/gcc/],
    ["resource-declarations", "no cpu", yaml(text => text.replace(/ +cpu: 1\n/, "")), /`cpu` is not declared/],
    [
      "resource-declarations",
      "too much",
      yaml(text => text.replace("memory_mb: 256", "memory_mb: 999999999")),
      /line 8/,
    ],
    ["resource-declarations", "text for a number", yaml(text => text.replace("cpu: 1", "cpu: many")), /not a number/],
    ["signature-and-sbom", "no packages", { layers: honestLayers.slice(1) }, /0 components/],
    ["signature-and-sbom", "a database that cannot be read", layered({ "var/lib/rpm/rpmdb.sqlite": "x" }), /rpmdb/],
    [
      "reproducible-build",
      "two builds differ",
      {
        observe: {
          "reproducible-build": facts => ({
            ...facts,
            builds: [facts.builds[0], { ...facts.builds[1], manifestDigest: `sha256:${"0".repeat(64)}` }],
            differences: [
              {
                ...{ layer: 1, path: "app/server.pyc", cause: "mtime", first: "1", second: "2" },
                ...{ instruction: "RUN make", consequence: false },
              },
            ],
            causes: [{ cause: "mtime", count: 1, layers: [1], consequence: false }],
          }),
        },
      },
      /layer 1 app\/server\.pyc/,
    ],
    [
      "reproducible-build",
      "one build",
      { observe: { "reproducible-build": facts => ({ ...facts, builds: facts.builds.slice(0, 1) }) } },
      /1 builds were compared/,
    ],
    [
      "reproducible-build",
      "builds of another image",
      {
        observe: {
          "reproducible-build": facts => ({
            ...facts,
            builds: facts.builds.map((build: object) => ({ ...build, manifestDigest: `sha256:${"1".repeat(64)}` })),
          }),
        },
      },
      /did not give the judged image/,
    ],
    [
      "seeded-determinism",
      "a trace differs",
      withRun(run => ({ ...run, trace: "0".repeat(64) })),
      /two different episodes/,
    ],
    [
      "seeded-determinism",
      "one observation for all seeds",
      {
        observe: {
          "seeded-determinism": facts => ({
            ...facts,
            runs: facts.runs.map((run: object) => ({ ...run, first: "0".repeat(64) })),
          }),
        },
      },
      /one and the same first observation/,
    ],
    ["seeded-determinism", "seeds of its own choice", withRun(run => ({ ...run, seed: 123_456 })), /seed 123456/],
  ]
  test.each(cases)("%s: %s", async (id, _, options, because) => {
    const report = await judge(options)
    const found = finding(report, id)
    expect(found?.outcome).toBe("fail")
    expect(`${found?.because} ${found?.parts.map(part => part.because).join(" ")}`).toMatch(because)
    expect(found?.remedy).not.toBe("")
    if (id === "resource-declarations")
      for (const part of found?.parts ?? []) expect(part.because).toMatch(/\(openenv\.yaml( line \d+)?\)$/)
    const others = required.filter(other => other !== id).map(other => finding(report, other)?.outcome)
    expect(others).toEqual(others.map(() => "pass"))
  })
})

describe("one criterion is unmeasured", () => {
  test.each(required)("%s, skipped by the contributor", async id => {
    const found = finding(await judge({ skip: [id] }), id)
    expect(found).toMatchObject({ outcome: "unmeasured", assurance: "missing", skippedByContributor: true })
    expect(found?.because).toBe("skipped by the contributor")
  })
  test("not observable on that machine", async () => {
    const found = finding(await judge({ notObserved: { "seeded-determinism": "no KVM" } }), "seeded-determinism")
    expect(found).toMatchObject({ outcome: "unmeasured", skippedByContributor: false })
    expect(found?.because).toContain("no KVM")
  })
  test("too few seeds", async () => {
    const few = (facts: { runs: object[] }) => ({ ...facts, runs: facts.runs.slice(0, 8) })
    const found = finding(await judge({ observe: { "seeded-determinism": few } }), "seeded-determinism")
    expect(found).toMatchObject({ outcome: "unmeasured", assurance: "missing" })
  })
  test("no fresh container", async () => {
    const found = finding(await judge(withRun(run => ({ ...run, container: 0, session: 99 }))), "seeded-determinism")
    expect([found?.outcome, found?.because]).toEqual(["unmeasured", expect.stringContaining("a fresh container")])
  })
  test("no episode had a step", async () => {
    expect(finding(await judge(withRuns(run => ({ ...run, steps: 0 }))), "seeded-determinism")?.outcome).toBe(
      "unmeasured",
    )
  })
  test("episodes that broke off", async () => {
    const found = finding(await judge(withRuns(run => ({ ...run, steps: 1, done: false }))), "seeded-determinism")
    expect([found?.outcome, found?.because]).toEqual(["unmeasured", expect.stringContaining("after 1 step")])
  })
  test.each(["oci-labels", "seeded-determinism"])("%s, observed by a newer version", async id => {
    const newer = rewriteObservation(state, id, observation => {
      observation.revision = 9
      observation.facts = { novelty: true }
    })
    const report = expectVerdict(await verify(await signState(newer, key), args), 3)
    expect(finding(report, id)).toMatchObject({ outcome: "unmeasured", assurance: "missing" })
    expect(finding(report, id)?.because).toContain("update")
  })
  test("what this version cannot observe, under the default policy", async () => {
    const report = expectVerdict(await verify(bundle, [...args.slice(0, -1), "default"]), 3)
    expect(finding(report, "periodic-learnability")).toMatchObject({ required: true, outcome: "unmeasured" })
    expect(finding(report, "gpu-workload")).toMatchObject({ required: false })
  })
})

describe("a declaration that two parsers could read differently fails what rests on it", () => {
  const cases: readonly [string, (text: string) => string, RegExp][] = [
    ["broken YAML", () => "name: [\n", /not valid YAML/],
    ["a key given twice", text => text.replace("gpus: 0", "gpus: 0\n    gpus: 1"), /gives a key twice/],
    ["an alias", text => text.replace("cpu: 1", "cpu: &one 1").replace("gpus: 0", "gpus: *one"), /uses a YAML alias/],
    [
      "an alias for a key",
      text => text.replace("name: tiny", "name: &g gpus").replace("gpus: 0", "*g : 8"),
      /no plain text/,
    ],
    ["a merge key", text => text.replace("gpus: 0", "<<: {gpus: 8}"), /merge key/],
    ["a key that is no text", text => `${text}? [a, b]\n: 1\n`, /no plain text/],
  ]
  test.each(cases)("%s", async (_, change, because) => {
    const report = await judge(yaml(change))
    expect(finding(report, "resource-declarations")?.because).toMatch(because)
    expect(finding(report, "seeded-determinism")).toMatchObject({ outcome: "fail" })
  })
  test.each(["010", "0x8", "1e3", "1_0", "1:30", ".inf", "-1", '"1"', "*", "1e-300"])(
    "cpu: %s is no number",
    async value => {
      const report = await judge(yaml(text => text.replace("cpu: 1", `cpu: ${value}`)))
      expect(finding(report, "resource-declarations")).toMatchObject({ outcome: "fail" })
    },
  )
  test.each(["0.5", "1_0", "1:30", "yes", '"0"', "[]", "1e-9"])(
    "variance_tolerance: %s declares nondeterminism",
    async value => {
      const declared = yaml(text =>
        text.replace("validation:", `validation:\n  reward: {variance_tolerance: ${value}}`),
      )
      const report = await judge(declared)
      expect(finding(report, "seeded-determinism")?.because).toContain("nondeterministic")
    },
  )
  test("variance_tolerance: 0 does not", async () => {
    const declared = yaml(text => text.replace("validation:", "validation:\n  reward: {variance_tolerance: 0}"))
    const state = await buildState(declared)
    const told = ["--key", keyFile, "--image-digest", state.imageDigest, "--policy", "demo"]
    expectVerdict(await verify(await signState(state, key), told), 0)
  })
})

describe("the verifier's policy", () => {
  const policy = (criteria: object) =>
    writeTemporary("policy.json", canonicalJson({ id: "hub", version: "1", criteria }))

  test("asks for more than the contributor's", async () => {
    const thresholds = { required: [...Object.keys(honestLabels), "org.opencontainers.image.vendor"] }
    const stricter = policy({ "oci-labels": { required: true, thresholds } })
    const report = expectVerdict(await verify(bundle, [...args.slice(0, -1), stricter]), 3)
    expect(finding(report, "oci-labels")?.because).toContain("vendor")
  })
  test("lets fail what it does not require, and shows it", async () => {
    const failing = await buildState({ labels: {} })
    const lax = policy({ "multi-stage-hygiene": { required: true } })
    const told = ["--key", keyFile, "--image-digest", failing.imageDigest, "--policy", lax]
    const report = expectVerdict(await verify(await signState(failing, key), told), 0)
    expect(finding(report, "oci-labels")).toMatchObject({ outcome: "fail", required: false })
  })
  test("excepts one file by its content; the contributor's own policy excepts nothing here", async () => {
    const withTool = await buildState({ layers: [...honestLayers, { "usr/bin/git": "ELF" }] })
    const told = (file: string) => ["--key", keyFile, "--image-digest", withTool.imageDigest, "--policy", file]
    const excepting = (content: string): PolicyDocument => ({
      id: "hub",
      version: "1",
      criteria: {
        "multi-stage-hygiene": {
          required: true,
          exceptions: [{ path: "usr/bin/git", sha256: sha256(content), reason: "agents use it" }],
        },
      },
    })
    const granted = policy(excepting("ELF").criteria)
    const report = expectVerdict(await verify(await signState(withTool, key), told(granted)), 0)
    expect(finding(report, "multi-stage-hygiene")?.parts[0]).toMatchObject({
      outcome: "pass",
      because: expect.stringContaining("excepted by policy hub/1: agents use it"),
    })
    expectVerdict(await verify(await signState(withTool, key), told(policy(excepting("other").criteria))), 3)
    const carried = { layers: [...honestLayers, { "usr/bin/git": "ELF" }], policy: excepting("ELF") }
    const selfExcepted = await buildState(carried)
    const strict = policy({ "multi-stage-hygiene": { required: true } })
    const refused = expectVerdict(await verify(await signState(selfExcepted, key), told(strict)), 3)
    expect(finding(refused, "multi-stage-hygiene")?.outcome).toBe("fail")
  })
  test("requires on a condition over what the submission declares", async () => {
    const conditional = policy({
      "oci-labels": { required: true },
      "gpu-workload": { requiredWhen: "submission.gpus > 0" },
    })
    expectVerdict(await verify(bundle, [...args.slice(0, -1), conditional]), 0)
    const gpu = await judge(
      yaml(text => text.replace("gpus: 0", "gpus: 1")),
      conditional,
    )
    expect(finding(gpu, "gpu-workload")).toMatchObject({ required: true, outcome: "unmeasured" })
    expect(finding(gpu, "gpu-workload")?.requiredBecause).toContain("submission.gpus > 0: it is 1")
  })
  test("whose condition nobody declares is in force", async () => {
    const conditional = policy({
      "oci-labels": { required: true },
      "gpu-workload": { requiredWhen: "submission.cpu > 99" },
    })
    const report = await judge(
      yaml(text => text.replace(/ +cpu: 1\n/, "")),
      conditional,
    )
    expect(finding(report, "gpu-workload")).toMatchObject({ required: true })
  })
  const unreadable: readonly [string, (text: string) => string][] = [
    ["as text", text => text.replace("gpus: 0", 'gpus: "1"')],
    ["twice", text => text.replace("gpus: 0", "gpus: 0\n    gpus: 1")],
    ["in a list", text => text.replace("resources:\n", "resources:\n    - ").replace("validation:", "validation: #")],
    ["in what is no mapping", text => text.replace(/validation:[\s\S]*$/, "validation: [gpus]\n")],
  ]
  test.each(unreadable)("whose condition is declared %s, so that it cannot be read, is in force", async (_, change) => {
    const conditional = policy({
      "oci-labels": { required: true },
      "gpu-workload": { requiredWhen: "submission.gpus > 0" },
    })
    const report = await judge(yaml(change), conditional)
    expect(finding(report, "gpu-workload")).toMatchObject({ required: true })
    expect(finding(report, "gpu-workload")?.requiredBecause).toContain("cannot be read")
  })
})

function without(label: string): Record<string, string> {
  const { [label]: _, ...others } = honestLabels
  return others
}
