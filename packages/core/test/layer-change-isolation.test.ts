import {
  criteria,
  type Digest,
  type Judgement,
  type LayerChangeIsolationObservation,
  schemaViolation,
} from "@envidence/core"
import { describe, expect, it } from "vitest"

type Facts = LayerChangeIsolationObservation["facts"]
type Layer = Facts["base"]["layers"][number]

const digest = (text: string): Digest => `sha256:${text.padEnd(64, "0")}`
const layer = (id: string, size = 1000): Layer => ({
  digest: digest(`c${id}`),
  diffId: digest(`d${id}`),
  size,
  instruction: `RUN make ${id}`,
})

const facts = (base: readonly Layer[], changed: readonly Layer[], more: Partial<Facts> = {}): Facts => ({
  engine: { name: "podman", version: "5" },
  flags: [],
  network: "none",
  imageDigest: digest("1"),
  file: { path: "server/app.py", because: "started-by-command", copiedBy: 4, appended: "\n# x\n" },
  base: { manifestDigest: digest("1"), layers: [...base] },
  changed: { manifestDigest: digest("2"), layers: [...changed] },
  spreads: { layer: 1, path: "server/Dockerfile", line: 7 },
  ...more,
})

const criterion = criteria.get("layer-change-isolation")
const context = {
  imageDigest: digest("1"),
  configDigest: digest("2"),
  sbomDigest: null,
  builtFromSubmission: true,
  seeds: [],
  signature: "verified",
} as const

function judge(observed: Facts, thresholds: Record<string, number> = {}): Judgement {
  if (criterion === undefined) throw new Error("it is not in the catalogue")
  const document = { criterion: criterion.id, revision: criterion.revision, facts: observed }
  expect(schemaViolation("LayerChangeIsolationObservation", document)).toBeUndefined()
  const defaults = Object.fromEntries(Object.entries(criterion.thresholds).map(([name, t]) => [name, t.default]))
  return criterion.judge(observed, { ...defaults, ...thresholds }, context)
}

const [a, b, c, d] = [layer("a"), layer("b"), layer("c"), layer("d")]
const moved = (of: Layer, size = of.size) => ({ ...layer("e", size), instruction: of.instruction })

describe("layer-change-isolation", () => {
  it.each<[string, Layer[]]>([
    ["the top layer", [a, b, c, moved(d)]],
    ["the top two", [a, b, moved(c), moved(d)]],
    ["the second from the top alone", [a, b, moved(c), d]],
  ])("passes where %s moves", (_, changed) => {
    expect(judge(facts([a, b, c, d], changed)).outcome).toBe("pass")
  })

  it.each<[string, Layer[]]>([
    ["three layers move", [a, moved(b), moved(c), moved(d)]],
    ["one below the top two moves", [a, moved(b), c, d]],
    ["the base moves", [moved(a), b, c, d]],
  ])("fails where %s, and names the lowest with its line", (_, changed) => {
    const judgement = judge(facts([a, b, c, d], changed))
    expect(judgement).toMatchObject({
      outcome: "fail",
      because: expect.stringMatching(/the lowest is layer [01], RUN make [ab]$/),
      remedy: expect.stringContaining("line 7 of server/Dockerfile"),
    })
    expect(judgement.parts[0]).toMatchObject({ where: { path: "server/Dockerfile", line: 7 } })
  })

  it("fails where two layers are a whole virtual environment, and names the larger", () => {
    const judgement = judge(facts([a, b, c, d], [a, b, moved(c, 30_000_000), moved(d)]))
    expect(judgement).toMatchObject({ outcome: "fail", observed: { bytes: 30_001_000 } })
    expect(judgement.remedy).toContain("in layer 2")
  })

  it("says where to install dependencies where an earlier stage copies the file", () => {
    const observed = facts([a, b, c, d], [a, moved(b), moved(c), moved(d)])
    expect(judge(observed).remedy).toContain("above line 4 of server/Dockerfile, which copies server/app.py")
    expect(judge({ ...observed, file: { ...observed.file, copiedBy: 7 } }).remedy).not.toContain("above line")
  })

  it("fails where the number of layers changes", () => {
    expect(judge(facts([a, b], [a, b, c]))).toMatchObject({
      outcome: "fail",
      because: expect.stringContaining("from 2 to 3"),
    })
  })

  it("is unmeasured where the change does not reach the image: nothing was shown", () => {
    expect(judge(facts([a, b], [a, b], { spreads: null }))).toMatchObject({ outcome: "unmeasured" })
  })

  it("fails for facts about another image", () => {
    expect(judge(facts([a], [moved(a)], { imageDigest: digest("9") })).outcome).toBe("fail")
  })

  it("is judged by stricter thresholds where a policy has them, and by no laxer ones", () => {
    const observed = facts([a, b, c, d], [a, b, moved(c), moved(d)])
    expect(judge(observed, { layers: 1 }).outcome).toBe("fail")
    expect(judge(observed, { bytes: 1999 }).outcome).toBe("fail")
    expect(criterion?.thresholds.layers?.refuse(3)).toContain("at most 2")
    expect(criterion?.thresholds.bytes?.refuse(10_000_001)).toContain("at most 10000000")
  })

  it("works without history and lines", () => {
    const bare = (of: Layer): Layer => ({ ...of, instruction: null })
    const observed = facts([a, b, c], [moved(a), moved(b), moved(c)].map(bare), {
      spreads: { layer: 0, path: "Dockerfile", line: null },
    })
    expect(judge(observed)).toMatchObject({ outcome: "fail", remedy: expect.stringContaining("move layer 0") })
  })
})
