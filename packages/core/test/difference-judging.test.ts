import { criteria, type Judgement, type ReproducibleBuildObservation, schemaViolation } from "@envidence/core"
import { describe, expect, it } from "vitest"

type Facts = ReproducibleBuildObservation["facts"]
type Difference = Facts["differences"][number]

const digest = (letter: string) => `sha256:${letter.repeat(64)}` as const
const build = (letter: string) => ({
  ...{ manifestDigest: digest(letter), configDigest: digest(letter), diffIds: [digest(letter)], seconds: 1 },
})
const difference = (cause: Difference["cause"], more: Partial<Difference> = {}): Difference => ({
  ...{ layer: 2, path: "app/x", cause, first: "1", second: "2", instruction: "RUN make", consequence: false },
  ...more,
})

function judge(causes: readonly [Difference["cause"], number][], differences: readonly Difference[] = []): Judgement {
  const facts: Facts = {
    engine: { name: "podman", version: "5" },
    flags: [],
    sourceDateEpoch: 0,
    network: "none",
    builds: [build("a"), build("b")],
    differences: [...differences],
    omitted: 0,
    causes: causes.map(([cause, count]) => ({ cause, count, layers: [2], consequence: cause === "history-name" })),
    layers: [],
  }
  const criterion = criteria.get("reproducible-build")
  const document = { criterion: "reproducible-build", revision: 1, facts }
  expect(schemaViolation("ReproducibleBuildObservation", document)).toBeUndefined()
  const context = {
    ...{
      imageDigest: digest("a"),
      configDigest: digest("a"),
      sbomDigest: null,
      builtFromSubmission: true,
      seeds: [],
    },
    signature: "verified" as const,
  }
  if (criterion === undefined) throw new Error("it is not in the catalogue")
  return criterion.judge(facts, { builds: 2 }, context)
}

describe("two builds that differ", () => {
  it("begin with the commonest cause, and its remedy", () => {
    const judgement = judge([
      ["pyc-header", 412],
      ["log", 2],
    ])
    expect(judgement.because).toBe("two clean builds differ: 412 by pyc-header, 2 by log")
    expect(judgement.remedy).toContain("unchecked-hash")
    expect(judgement.parts.map(({ because }) => because)).toEqual([
      "412 by pyc-header in layer 2: 2 differences would be left if compiled Python did not hold its source's time of modification",
      "2 by log in layer 2: 412 differences would be left if logs were not kept",
    ])
  })

  it("would be identical if their only cause were gone", () => {
    const [part] = judge([["mtime", 9]], [difference("mtime")]).parts
    expect(part?.because).toContain("the builds would be identical if times of modification were the same, by RUN make")
  })

  it("name what follows from the rest as that, without a remedy of its own, and never first", () => {
    const name = difference("history-name", { layer: null, path: "/history/0/comment", consequence: true })
    const { parts, because } = judge(
      [
        ["log", 1],
        ["history-name", 9],
      ],
      [difference("log"), name],
    )
    expect(because).toBe("two clean builds differ: 1 by log; first: layer 2 app/x")
    expect(parts[0]?.because).toContain("the builds would be identical if logs were not kept")
    expect(parts.at(-1)).toMatchObject({ because: expect.stringContaining("follows from the others"), remedy: "" })
  })

  it("have a remedy even where nothing is listed", () => {
    const { outcome, remedy } = judge([])
    expect([outcome, remedy.length > 0]).toEqual(["fail", true])
  })
})
