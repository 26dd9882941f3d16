import {
  builtInPolicies,
  catalogue,
  choosePolicy,
  criteria,
  EvidenceError,
  isJudged,
  type PolicyDocument,
  parsePolicy,
  policyDigest,
  readDeclaration,
  requirementOf,
  thresholdViolation,
} from "@envidence/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const policy = (criteriaOf: PolicyDocument["criteria"]): PolicyDocument => ({
  id: "x",
  version: "1",
  criteria: criteriaOf,
})
const declared = (resources: string) =>
  readDeclaration([{ path: "openenv.yaml", text: `name: x\nvalidation:\n  resources: ${resources}\n` }])
const codeOf = (document: unknown): string => {
  try {
    parsePolicy(Buffer.from(JSON.stringify(document)), "it")
  } catch (error) {
    if (error instanceof EvidenceError) return error.code
    throw error
  }
  return "accepted"
}

describe("built-in policies", () => {
  test.each(Object.entries(builtInPolicies))("%s may be read as anybody's", (_, document) => {
    expect(codeOf(document)).toBe("accepted")
  })
  test("are chosen by name, and no property of an object is one", async () => {
    const read = async (file: string) => Promise.reject(new EvidenceError("input-not-found", file))
    expect(await choosePolicy("demo", read)).toBe(builtInPolicies.demo)
    for (const name of ["toString", "__proto__", "constructor"])
      await expect(choosePolicy(name, read)).rejects.toMatchObject({ code: "input-not-found" })
  })
  test("have a digest that follows the content and not its order", async () => {
    const { criteria: rules, ...rest } = builtInPolicies.demo
    expect(await policyDigest({ criteria: rules, ...rest })).toBe(await policyDigest(builtInPolicies.demo))
    expect(await policyDigest(builtInPolicies.default)).not.toBe(await policyDigest(builtInPolicies.demo))
  })
})

describe("thresholds", () => {
  const all = [...criteria.values()].flatMap(({ id, thresholds }) =>
    Object.entries(thresholds).map(([name, threshold]) => ({ id, name, threshold })),
  )
  test.each(all)("$id: the default of $name is in its own bounds", ({ id, name, threshold }) => {
    expect(threshold.refuse(threshold.default)).toBeUndefined()
    expect(
      thresholdViolation(policy({ [id]: { thresholds: { [name]: threshold.default as number } } })),
    ).toBeUndefined()
    expect(threshold.reason.length).toBeGreaterThan(10)
    expect(threshold.bound).not.toBe("")
  })
  test.each(all)("$id: $name takes nothing of another type", ({ threshold }) => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        const sameType = Array.isArray(threshold.default) ? Array.isArray(value) : typeof value === "number"
        if (!sameType) expect(threshold.refuse(value)).toBeTypeOf("string")
      }),
    )
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, undefined, null, {}, [1]])
      expect(threshold.refuse(value)).toBeTypeOf("string")
  })
  test("may be stricter and never looser", () => {
    const residues = (value: number) =>
      thresholdViolation(policy({ "multi-stage-hygiene": { thresholds: { residues: value } } }))
    const seeds = (value: number) =>
      thresholdViolation(policy({ "seeded-determinism": { thresholds: { seeds: value } } }))
    fc.assert(fc.property(fc.integer({ min: 1, max: 1e9 }), more => residues(more) !== undefined))
    fc.assert(fc.property(fc.integer({ min: 3, max: 1e9 }), more => seeds(more) === undefined))
    fc.assert(fc.property(fc.double({ max: 3, maxExcluded: true, noNaN: true }), fewer => seeds(fewer) !== undefined))
  })
  test("of a criterion that has none are refused", () => {
    for (const [id, name] of [
      ["oci-labels", "toString"],
      ["reward-integrity", "x"],
      ["oci-labels", "__proto__"],
    ] as const) {
      const thresholds = Object.fromEntries([[name, 1]])
      expect(thresholdViolation(policy({ [id]: { required: true, thresholds } }))).toContain(name)
    }
  })
})

describe("what is required", () => {
  const ask = (rule: PolicyDocument["criteria"][string], declaration = declared("{cpu: 2, gpus: 1}")) =>
    requirementOf(policy({ "gpu-workload": rule }), "gpu-workload", declaration)

  test.each([
    ["submission.gpus > 0", true],
    ["submission.gpus > 1", false],
    ["submission.gpus >= 1", true],
    ["submission.gpus == 1", true],
    ["submission.gpus < 1", false],
    ["submission.cpu <= 2", true],
    // What nobody declared, or nobody knows, leaves the condition in force.
    ["submission.memory_mb > 99999", true],
    ["submission.toString > 99999", true],
    ["gpus > 99999", true],
  ])("when %s: %s", (requiredWhen, required) => {
    expect(ask({ requiredWhen }).required).toBe(required)
  })
  test("gpus that are not declared are none, as OpenEnv has it", () => {
    expect(ask({ requiredWhen: "submission.gpus > 0" }, declared("{cpu: 1}")).required).toBe(false)
  })
  test("wins over a condition", () => {
    expect(ask({ required: true, requiredWhen: "submission.gpus > 9" }).required).toBe(true)
  })
  test("is nothing that the policy does not name", () => {
    for (const { id } of catalogue) expect(requirementOf(policy({}), id, declared("{}")).required).toBe(false)
  })
  test("comes with the catalogue's thresholds where the policy sets none", () => {
    for (const row of catalogue.filter(isJudged)) {
      const { thresholds } = requirementOf(policy({ [row.id]: { required: true } }), row.id, declared("{}"))
      for (const [name, { default: value }] of Object.entries(row.thresholds)) expect(thresholds[name]).toEqual(value)
    }
  })
})

test.each([
  ["an empty one", {}],
  ["no criteria", { id: "x", version: "1" }],
  ["no version", { id: "x", criteria: { "oci-labels": { required: true } } }],
  ["nothing required", policy({ "oci-labels": {} })],
  ["a condition alone", policy({ "oci-labels": { requiredWhen: "submission.gpus > 0" } })],
  ["an unknown criterion", policy({ "oci-labels": { required: true }, "be-nice": { required: true } })],
  ["a negative age", { ...policy({ "oci-labels": { required: true } }), maxAgeDays: -1 }],
  ["an age of nothing", { ...policy({ "oci-labels": { required: true } }), maxAgeDays: 0 }],
])("%s is no policy", (_, document) => {
  expect(codeOf(document)).toBe("invalid-policy")
})
