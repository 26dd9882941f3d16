// How the command is used: exit code 2 for what it does not take, 1 where nothing can be decided.
import { explanations } from "@envidence/core"
import { afterAll, describe, expect, test } from "vitest"
import { expectNarrow, expectNoReport, expectSafeText, expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { rewrite } from "../bundles/rewrite.ts"
import { signState } from "../bundles/signing.ts"
import { newFolder, removeFolders } from "../bundles/state.ts"
import { runVerify, verify, writeTemporary } from "../bundles/verifying.ts"

const { state, key, bundle, args } = await newFixture()
const file = writeTemporary("evidence-bundle.tar.gz", bundle)
afterAll(removeFolders)

const run = async (...argv: string[]) => {
  const ended = await runVerify(argv)
  return { ...ended, report: null, code: /\[([a-z-]+)\]$/m.exec(ended.stderr)?.[1] ?? null }
}

describe("a command line that is refused", () => {
  const cases: readonly [string, readonly string[], code?: string][] = [
    ["nothing", []],
    ["no bundle", args],
    ["a bundle that does not exist", ["/nonexistent.tar.gz", ...args], "input-not-found"],
    ["a bundle under a file", [`${file}/x`, ...args], "input-not-found"],
    ["a folder as bundle", [newFolder(), ...args], "input-not-found"],
    ["two bundles", [file, file, ...args]],
    ["an unknown option", [file, ...args, "--accept-anything"]],
    ["an option's negation", [file, ...args, "--no-offline"]],
    ["an option without its value", [file, ...args, "--challenge"]],
    ["an option as another's value", [file, "--any-subject-unsafe", "--key", "--policy", "demo"]],
    ["a subject twice", [file, ...args, "--image-digest", state.imageDigest]],
    ["a policy twice", [file, ...args, "--policy", "demo"]],
    ["a switch twice", [file, ...args, "--any-signer-unsafe", "--any-signer-unsafe"]],
    ["a format that there is not", [file, ...args, "--report", "yaml"]],
    ["a report into a file without a name", [file, ...args, "--report", "json="]],
    ["two reports on standard output", [file, ...args, "--report", "json", "--report", "text"]],
    ["two reports on standard output, by both options", [file, ...args, "--report", "json", "--format", "text"]],
    ["a policy that does not exist", [file, ...args.slice(0, -1), "strictest"], "input-not-found"],
    ["an error code that there is not", ["--explain", "nonsense"]],
    ["inspect without a bundle", ["inspect"]],
    ["a policy command without a file", ["policy"]],
  ]
  test.each(cases)("%s", async (_, argv, code = "usage") => {
    expectNoReport(await run(...argv), 2, code)
  })
  test("a report where it cannot be written", async () => {
    expectNoReport(await run(file, ...args, "--report", `json=${newFolder()}/none/report.json`), 2, "usage")
  })
  test("names with numbers in them are names", async () => {
    const { stderr } = await run("1e3", ...args)
    expect(stderr).toContain("1e3 does not exist")
    expect((await run("0x10", ...args)).stderr).toContain("0x10 does not exist")
  })
})

describe("a policy that is refused", () => {
  const label = { required: true }
  const cases: readonly [string, string][] = [
    ["not JSON", "required: everything"],
    ["a list", "[]"],
    ["a duplicate key", '{"id":"x","id":"y","version":"1","criteria":{"oci-labels":{"required":true}}}'],
    ["an unknown member", JSON.stringify({ id: "x", version: "1", criteria: { "oci-labels": label }, more: 1 })],
    [
      "an unknown criterion",
      JSON.stringify({ id: "x", version: "1", criteria: { "oci-labels": label, "be-nice": {} } }),
    ],
    ["nothing required", JSON.stringify({ id: "x", version: "1", criteria: {} })],
    [
      "nothing required for certain",
      JSON.stringify({ id: "x", version: "1", criteria: { "oci-labels": { required: false } } }),
    ],
    [
      "a looser threshold",
      JSON.stringify({
        id: "x",
        version: "1",
        criteria: { "multi-stage-hygiene": { required: true, thresholds: { residues: 1 } } },
      }),
    ],
    [
      "a label less",
      JSON.stringify({
        id: "x",
        version: "1",
        criteria: { "oci-labels": { required: true, thresholds: { required: [] } } },
      }),
    ],
    [
      "fewer seeds",
      JSON.stringify({
        id: "x",
        version: "1",
        criteria: { "seeded-determinism": { required: true, thresholds: { seeds: 1 } } },
      }),
    ],
    [
      "a threshold of another type",
      JSON.stringify({
        id: "x",
        version: "1",
        criteria: { "seeded-determinism": { required: true, thresholds: { seeds: "9" } } },
      }),
    ],
    [
      "an unknown threshold",
      JSON.stringify({
        id: "x",
        version: "1",
        criteria: { "oci-labels": { required: true, thresholds: { toString: 1 } } },
      }),
    ],
    [
      "a condition that is none",
      JSON.stringify({ id: "x", version: "1", criteria: { "oci-labels": { required: true, requiredWhen: "always" } } }),
    ],
    [
      "a signer without an issuer",
      JSON.stringify({ id: "x", version: "1", signers: [{ identity: "a" }], criteria: { "oci-labels": label } }),
    ],
  ]
  test.each(cases)("%s", async (_, text) => {
    const policy = writeTemporary("policy.json", text)
    expectNoReport(await run(file, ...args.slice(0, -1), policy), 2, "invalid-policy")
    expectNoReport(await run("policy", policy), 2, "invalid-policy")
  })
})

describe("nothing is decided", () => {
  const broken = async function* () {
    yield bundle.subarray(0, 1000)
    throw Object.assign(new Error("read EIO"), { code: "EIO" })
  }
  test("where standard input breaks off", async () => {
    expectNoReport(await verify(bundle, args, { stdin: broken }), 1, "input-unreadable")
  })
})

describe("what is printed", () => {
  test("standard input and a file give the same report, twice, byte for byte", async () => {
    const runs = [
      await verify(bundle, args),
      await verify(bundle, args),
      await run(file, ...args, "--report", "json"),
      await run(file, ...args, "--format", "json"),
    ]
    for (const { stdout, exitCode } of runs) expect([exitCode, stdout]).toEqual([0, runs[0]?.stdout])
  })
  test("--version and --help", async () => {
    expect((await run("--version")).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    const { stdout, exitCode } = await run("--help")
    expect(exitCode).toBe(0)
    for (const option of ["--submission", "--certificate-identity", "--any-signer-unsafe"])
      expect(stdout).toContain(option)
    expectNarrow(stdout)
  })
  test.each(Object.keys(explanations))("--explain %s", async code => {
    const { stdout, exitCode } = await run("--explain", code)
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(new RegExp(`^${code} \\(exit [12456]\\)\\n.{20,}\\n$`))
  })
  test("every line of inspect is marked", async () => {
    const unknown = { members: { "extra/x.bin": "x" }, roles: { "extra/x.bin": "novelty" } }
    const other = writeTemporary("b.tar.gz", await signState(rewrite(state, unknown), key))
    for (const path of [file, other]) {
      const { stdout, exitCode } = await run("inspect", path)
      expect(exitCode).toBe(0)
      const lines = stdout.trimEnd().split("\n")
      expect(lines.length).toBeGreaterThan(10)
      for (const line of lines) expect(line).toMatch(/^UNVERIFIED {2}\S/)
      expectSafeText(stdout)
    }
  })
  test("inspect names the file that is no bundle, first", async () => {
    const notes = writeTemporary("notes.txt", "no bundle")
    const { stderr, exitCode } = await run("inspect", notes)
    expect([exitCode, stderr]).toEqual([4, expect.stringContaining(`verify-evidence: ${notes}: `)])
  })
  test("policy explains itself in sentences", async () => {
    const { stdout, exitCode } = await run("policy", "demo")
    expect(exitCode).toBe(0)
    expect(stdout).toContain("Policy demo/1 is valid.")
    expect(stdout).toContain("oci-labels is required:")
    expect(stdout).toContain("runtime-drift is not required:")
    expect(stdout).toContain("names no signer")
  })
  test("reports go to the files named, and standard output keeps the one that is left", async () => {
    const folder = newFolder()
    const targets = ["--report", `json=${folder}/r.json`, "--report", `markdown=${folder}/r.md`, "--report", "text"]
    const { stdout } = await run(file, ...args, ...targets)
    expect(stdout).toMatch(/^ACCEPTED /)
    const json = await verify(bundle, args)
    expectVerdict(json, 0)
    const { readFileSync, readdirSync } = await import("node:fs")
    expect(readFileSync(`${folder}/r.json`, "utf8")).toBe(json.stdout)
    expect(readFileSync(`${folder}/r.md`, "utf8")).toContain("| oci-labels | pass |")
    expect(readdirSync(folder).sort()).toEqual(["r.json", "r.md"])
  })
})
