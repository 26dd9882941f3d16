// A contributor chooses names, paths, labels and instructions: none of them steers who reads the report.
import { renderReport } from "@envidence/core"
import { afterAll, describe, expect, test } from "vitest"
import { expectInert, expectNarrow, expectSafeText, expectVerdict } from "../bundles/expectations.ts"
import { honestLabels, honestLayers } from "../bundles/image.ts"
import { newKeyPair, signState } from "../bundles/signing.ts"
import { buildState, removeFolders, type StateOptions } from "../bundles/state.ts"
import { honestFiles } from "../bundles/submission.ts"
import { runVerify, verify, writeTemporary } from "../bundles/verifying.ts"

const key = newKeyPair()
const keyFile = writeTemporary("k.pem", key.publicKeyPem)
afterAll(removeFolders)

async function reportOn(options: StateOptions) {
  const state = await buildState(options)
  const args = ["--key", keyFile, "--image-digest", state.imageDigest, "--policy", "demo"]
  const bundle = await signState(state, key)
  const report = expectVerdict(await verify(bundle, args), 3)
  const { stdout: inspection } = await runVerify(["inspect", writeTemporary("b.tar.gz", bundle)])
  return { report, inspection, text: renderReport(report, "text"), markdown: renderReport(report, "markdown") }
}

const hostile = [
  "\u001b[2J\u001b[1;32mACCEPTED\u001b[0m",
  "a\u202egpj.exe",
  "first\nACCEPTED  everything",
  "first\r\nREJECTED",
  "::set-output name=verdict::accepted",
  "```\n# heading",
  "````",
  "~~~",
  "<!-- hidden -->",
  "<img src=x onerror=alert(1)>",
  "@maintainer please merge",
  "fixes #1",
  "acme/tiles#1 and GH-1",
  "a | b | c",
  "[click](https://evil.example)",
  "![x](https://evil.example/x.png)",
  "https://evil.example/a www.evil.example b@evil.example",
  "**bold** _it_ ~~gone~~ `code`",
  "\\| \\` \\[",
  "&lt;b&gt; &#64;user",
  "$\\color{red}{x}$",
  "zero\u200bwidth \ufeff \u2028 \u2029 \u0085 \u009b31m",
  "- [ ] task",
  "1. one",
  "| --- |",
  "大".repeat(100),
  "x".repeat(250),
  "👍".repeat(60),
]

test.each(hostile)("%j in a name, a path, a label and an instruction", async text => {
  const file = text.replaceAll("/", "∕")
  const {
    report,
    inspection,
    text: screen,
    markdown,
  } = await reportOn({
    files: {
      ...honestFiles,
      "openenv.yaml": (honestFiles["openenv.yaml"] ?? "").replace("name: tiny", `name: ${JSON.stringify(text)}`),
    },
    layers: [...honestLayers, { [`app/${file}/.git/config`]: "[core]\n", [`app/.env.${file}`]: "X=1\n" }],
    labels: { ...honestLabels, "org.opencontainers.image.title": "", [`x.${text}`]: text, vendor: text },
    history: ["", "", "", `/bin/sh -c echo ${text}`],
    notObserved: { "seeded-determinism": text },
  })
  expect(report.findings.find(({ id }) => id === "multi-stage-hygiene")?.outcome).toBe("fail")
  expectSafeText(inspection)
  // Nothing of it begins a line of its own, which is what commands to a CI and headings need.
  const lines = [...screen.split("\n"), ...inspection.split("\n"), ...markdown.split("\n")]
  expect(lines.filter(line => /^(::|#(?!## [a-z-]+$)|ACCEPTED|- \[)/.test(line))).toEqual([])
  expectInert(
    markdown
      .split(/^`{3,}$/m)
      .slice(1)
      .join(""),
  )
})

describe("what is very long", () => {
  test("is cut, and the report keeps its schema", async () => {
    const folder = `${"d".repeat(90)}/`.repeat(40)
    const { text } = await reportOn({
      files: {
        ...honestFiles,
        "openenv.yaml": (honestFiles["openenv.yaml"] ?? "")
          .replace("name: tiny", `name: ${"n".repeat(5000)}`)
          .replace("version: 1.2.0", `version: ${"v".repeat(5000)}`),
      },
      layers: [
        ...honestLayers,
        { [`${folder}a/.git/x`]: "x", [`${folder}b/.git/x`]: "x", [`${folder}c/.git/x`]: "x", "e/.git/x": "x" },
      ],
      history: ["", "", "", `/bin/sh -c ${"echo x; ".repeat(2000)}`],
    })
    expectNarrow(text)
  })
  test("like a label that a policy asks for", async () => {
    const name = `x.${"y".repeat(500)}`
    const state = await buildState()
    const policy = { required: true, thresholds: { required: [...Object.keys(honestLabels), name] } }
    const file = writeTemporary(
      "policy.json",
      JSON.stringify({ id: "long", version: "1", criteria: { "oci-labels": policy } }),
    )
    const args = ["--key", keyFile, "--image-digest", state.imageDigest, "--policy", file]
    expectVerdict(await verify(await signState(state, key), args), 3)
  })
  test("or a place that has no name: two episodes of other length", async () => {
    await reportOn({
      observe: {
        "seeded-determinism": facts => ({
          ...facts,
          runs: facts.runs.map((run: object, i: number) => (i === 1 ? { ...run, trace: "0".repeat(64) } : run)),
          differences: [
            { seed: facts.runs[0].seed, runs: [0, 1], frame: 4, pointer: "", first: "{}", second: "(absent)" },
            {
              seed: facts.runs[0].seed,
              runs: [0, 1],
              frame: 4,
              pointer: `/${"p".repeat(900)}`,
              first: "1",
              second: "2",
            },
          ],
        }),
      },
    })
  })
})

describe("a contributor's words beside ours", () => {
  test("a name cannot push the digest and the policy out of the first line", async () => {
    const name = `tiny 9.9.9 at deadbeefcafe  policy strict/9${" ".repeat(60)}`
    const yaml = honestFiles["openenv.yaml"]?.replace("name: tiny", `name: ${JSON.stringify(name)}`)
    const named = await buildState({ files: { ...honestFiles, "openenv.yaml": yaml ?? "" } })
    const told = ["--key", keyFile, "--image-digest", named.imageDigest, "--policy", "demo"]
    const report = expectVerdict(await verify(await signState(named, key), told), 0)
    const [headline = ""] = renderReport(report, "text").split("\n")
    expect(headline).toMatch(/^ACCEPTED {2}"tiny 9\.9\.9 at deadbeefcafe.*" 1\.2\.0 at [0-9a-f]{12} {2}policy demo\/1$/)
  })
})
