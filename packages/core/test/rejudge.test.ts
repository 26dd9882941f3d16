import {
  builtInPolicies,
  catalogue,
  criteria,
  type Finding,
  isAccepted,
  type JudgeContext,
  type Observation,
  type Observations,
  preview,
  readDeclaration,
} from "@envidence/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const context: Omit<JudgeContext, "signature"> = {
  imageDigest: `sha256:${"1".repeat(64)}`,
  configDigest: `sha256:${"1".repeat(64)}`,
  sbomDigest: null,
  builtFromSubmission: true,
  seeds: [1, 2, 3, 4],
}
const judge = (observations: readonly Observation[], notObserved: Observations["notObserved"] = new Map()) =>
  preview(
    { observations: new Map(observations.map(each => [each.criterion, each])), notObserved },
    readDeclaration([]),
    builtInPolicies.demo,
    context,
  )

describe("every criterion of the catalogue has a finding, in its order", () => {
  test("where nothing was observed: all unmeasured, none accepted", () => {
    const findings = judge([])
    expect(findings.map(({ id }) => id)).toEqual(catalogue.map(({ id }) => id))
    expect(new Set(findings.map(({ outcome, assurance }) => `${outcome} ${assurance}`))).toEqual(
      new Set(["unmeasured missing"]),
    )
    expect(isAccepted(findings)).toBe(false)
  })
  test("where criteria were observed that there are not", () => {
    const findings = judge([
      { criterion: "be-nice", revision: 1, facts: {} },
      { criterion: "runtime-drift", revision: 1, facts: {} },
    ])
    expect(findings).toHaveLength(18)
    expect(findings.every(({ outcome }) => outcome === "unmeasured")).toBe(true)
  })
  test("where another revision was observed, whatever its facts", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...criteria.keys()),
        fc.integer({ min: 1, max: 10_000 }),
        fc.object(),
        (criterion, above, facts) => {
          const revision = (criteria.get(criterion)?.revision ?? 0) + above
          const finding = judge([{ criterion, revision, facts }]).find(({ id }) => id === criterion)
          expect(finding).toMatchObject({ outcome: "unmeasured", assurance: "missing" })
          expect(finding?.because).toContain("update")
        },
      ),
    )
  })
  test("with the reason why there is none", () => {
    const notObserved = new Map([
      ["oci-labels", { skippedByContributor: true, because: "x" }],
      ["seeded-determinism", { skippedByContributor: false, because: "no engine" }],
    ])
    const findings = judge([], notObserved)
    expect(findings.find(({ id }) => id === "oci-labels")).toMatchObject({ skippedByContributor: true })
    expect(findings.find(({ id }) => id === "seeded-determinism")?.because).toContain("no engine")
  })
})

describe("accepted", () => {
  const [template] = judge([]) as [Finding, ...Finding[]]
  const finding = fc.record({
    required: fc.boolean(),
    outcome: fc.constantFrom("pass" as const, "fail" as const, "unmeasured" as const),
  })
  test("is only what passes wherever it is required", () => {
    fc.assert(
      fc.property(fc.array(finding), rows => {
        const lacking = rows.some(({ required, outcome }) => required && outcome !== "pass")
        expect(isAccepted(rows.map(row => ({ ...template, ...row })))).toBe(!lacking)
      }),
    )
  })
})
