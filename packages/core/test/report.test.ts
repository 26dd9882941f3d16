import {
  buildCheckReport,
  buildReport,
  builtInPolicies,
  catalogue,
  columnsOf,
  type ErrorCode,
  EvidenceError,
  exitCodeOf,
  explanations,
  type Finding,
  type Report,
  readDeclaration,
  renderReport,
  schemaViolation,
} from "@envidence/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const facts = { policy: builtInPolicies.demo, expectedChallenge: null, trustedRootSha256: null }
const UNSEEN = /[\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]|(?!\n)\p{Cc}/u

const findingOf = (id: string, because: string, outcome: Finding["outcome"]): Finding => ({
  id,
  revision: 1,
  required: true,
  requiredBecause: "it is",
  outcome,
  assurance: outcome === "unmeasured" ? "missing" : "attested",
  skippedByContributor: false,
  because,
  remedy: `do not ${because}`,
  observed: {},
  threshold: {},
  parts: [
    {
      id: "part",
      outcome,
      assurance: "attested",
      because: `part of ${because}`,
      remedy: because,
      where: { layer: 0, path: because, instruction: because, line: 1 },
    },
  ],
  upstream: [],
})

describe("a refusal", () => {
  test.each(Object.entries(exitCodeOf))("%s has exit code %i, no findings and its schema", async (code, exitCode) => {
    const error = new EvidenceError(code as ErrorCode, "what happened")
    const findings = catalogue.map(({ id }) => findingOf(id, "x", "pass"))
    const report = await buildReport({ ...facts, error, findings })
    expect(report).toMatchObject({ exitCode, findings: [], error: { code, message: "what happened" } })
    expect(report.verdict).toBe(exitCode < 3 ? "no-decision" : "rejected")
    expect(schemaViolation("ReportDocument", report)).toBeUndefined()
    expect(renderReport(report, "text")).not.toContain("ACCEPTED")
    expect(explanations[code as ErrorCode].length).toBeGreaterThan(20)
  })
  test("with a message of any length keeps its schema", async () => {
    const error = new EvidenceError("malformed-archive", "x".repeat(100_000))
    expect(schemaViolation("ReportDocument", await buildReport({ ...facts, error }))).toBeUndefined()
  })
})

test("no findings are no acceptance", async () => {
  expect(await buildReport(facts)).toMatchObject({ verdict: "rejected", exitCode: 3 })
  expect(await buildReport({ ...facts, findings: [] })).toMatchObject({ verdict: "rejected", exitCode: 3 })
})

test("a check of some criteria says what would observe the others", async () => {
  const findings = catalogue.map(({ id }) => findingOf(id, "x", "pass"))
  const check = async (seen: typeof findings) =>
    renderReport(await buildCheckReport(seen, facts.policy, readDeclaration([]), ""), "text")
  expect(await check(findings.slice(0, 4))).toMatch(/^Not checked +what only building twice/m)
  expect(await check(findings)).not.toContain("Not checked")
})

describe("whatever a contributor writes", () => {
  const anyText = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.string({
      unit: fc.constantFrom(
        "`",
        "~",
        "|",
        "\n",
        "#",
        " ",
        "-",
        "<",
        "&",
        "@",
        "\u001b[31m",
        "👍",
        "寬",
        "\u0301",
        "\u05d0",
        "\u202e",
      ),
      maxLength: 200,
    }),
  )
  const reportWith = async (text: string): Promise<Report> => {
    const report = await buildReport({
      ...facts,
      findings: catalogue.map(({ id }, i) => findingOf(id, text, i % 2 ? "fail" : "pass")),
    })
    return {
      ...report,
      title: text,
      bindings: [{ id: "platforms", outcome: "holds", because: text }],
      bundles: [
        {
          sha256: "0".repeat(64),
          size: 1,
          signer: { kind: "keyless", identity: text, issuer: text, claims: {} },
          signedAt: null,
          measuredAfter: null,
        },
      ],
      honesty: { proves: [text], recomputedHere: [text], attestedOnly: [], notChecked: [text] },
    }
  }
  test("the text has 80 columns and nothing unseen", async () => {
    await fc.assert(
      fc.asyncProperty(anyText, async text => {
        const shown = renderReport(await reportWith(text), "text")
        expect(shown).not.toMatch(UNSEEN)
        expect(shown.split("\n").filter(line => columnsOf(line) > 80)).toEqual([])
        expect(shown.split("\n").filter(line => /^(ACCEPTED|REJECTED) /.test(line))).toHaveLength(1)
      }),
    )
  })
  test("the Markdown has one fence, whole tables and no markup but its own", async () => {
    await fc.assert(
      fc.asyncProperty(anyText, async text => {
        const shown = renderReport(await reportWith(text), "markdown")
        const [, fence = "", rest = ""] = /^(`{3,})text\n[\s\S]*?\n\1\n([\s\S]*)$/.exec(shown) ?? []
        expect(fence).not.toBe("")
        expect(rest).not.toMatch(/[<>@`[\]\\]/)
        for (const line of rest.split("\n")) {
          expect(line).toMatch(/^(\| .* \||\|[-|]+\||- .*|### [a-z-]+|)$/u)
          if (line.startsWith("|")) expect([4, 6]).toContain(line.match(/\|/g)?.length)
        }
      }),
    )
  })
  test("the JSON reads back as it was", async () => {
    await fc.assert(
      fc.asyncProperty(anyText, async text => {
        const report = await reportWith(text)
        const shown = renderReport(report, "json")
        expect(JSON.parse(shown)).toEqual(report)
        expect(shown).not.toMatch(UNSEEN)
      }),
    )
  })
})
