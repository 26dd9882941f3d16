import {
  comparableFrame,
  firstTraceDifference,
  type Json,
  readTranscript,
  traceDigests,
  volatileDifferences,
  writeTranscript,
} from "@envidence/core"
import { describe, expect, it } from "vitest"

const observation = (fields: { [key: string]: Json }, metadata: Json = {}): Json => ({
  type: "observation",
  data: { observation: { ...fields, metadata }, reward: null, done: false, metadata },
})
const state = (episode: string): Json => ({ type: "state", data: { episode_id: episode, step_count: 1 } })

describe("what is compared", () => {
  it("leaves out metadata and the episode's name, and nothing else", () => {
    expect(comparableFrame(observation({ x: 1 }, { t: 5 }))).toEqual({
      type: "observation",
      data: { observation: { x: 1 }, reward: null, done: false },
    })
    expect(comparableFrame(state("a"))).toEqual({ type: "state", data: { step_count: 1 } })
    expect(comparableFrame({ type: "toString", data: { metadata: 1 } })).toEqual({
      type: "toString",
      data: { metadata: 1 },
    })
  })

  it("names what varied under metadata", () => {
    const pointers = volatileDifferences(
      observation({ x: 1 }, { t: 5, "a/b": 1 }),
      observation({ x: 1 }, { t: 6, "a/b": 2 }),
    )
    expect(pointers).toEqual([
      "/data/metadata/a~1b",
      "/data/metadata/t",
      "/data/observation/metadata/a~1b",
      "/data/observation/metadata/t",
    ])
    expect(volatileDifferences(state("a"), state("b"))).toEqual(["/data/episode_id"])
    expect(volatileDifferences(state("a"), state("a"))).toEqual([])
    expect(volatileDifferences(observation({}), state("a"))).toEqual([])
  })
})

describe("digests", () => {
  it("do not depend on metadata or on the order of members, and do on rewards", async () => {
    const one = [observation({ x: 1, y: 2 }, { t: 1 }), state("a")]
    const other = [observation({ y: 2, x: 1 }, { t: 2 }), state("b")]
    expect(await traceDigests(one)).toEqual(await traceDigests(other))
    const rewarded: Json = { type: "observation", data: { observation: { x: 1, y: 2 }, reward: 1, done: false } }
    const { first, trace } = await traceDigests([rewarded, state("a")])
    expect(first).toBe((await traceDigests(one)).first)
    expect(trace).not.toBe((await traceDigests(one)).trace)
  })
})

describe("the first difference", () => {
  it("is a pointer and both values", () => {
    const found = firstTraceDifference(
      [observation({ x: 1 }), observation({ x: 1 })],
      [observation({ x: 1 }), observation({ x: 2 })],
    )
    expect(found).toEqual({ frame: 1, pointer: "/data/observation/x", first: "1", second: "2" })
  })

  it("may be a missing frame, and is bounded", () => {
    expect(firstTraceDifference([state("a"), state("a")], [state("a")])).toMatchObject({
      frame: 1,
      pointer: "",
      second: "(absent)",
    })
    const found = firstTraceDifference([observation({ x: "a".repeat(1000) })], [observation({ x: "b" })])
    expect(found?.first).toHaveLength(256)
  })

  it("is none where only metadata varies", () => {
    expect(firstTraceDifference([observation({}, { t: 1 })], [observation({}, { t: 2 })])).toBeUndefined()
  })
})

describe("transcripts", () => {
  const line = (run: number, frame: number, receive: Json) => ({ run, frame, send: { type: "state" }, receive })

  it("come back as the server's messages of each run", async () => {
    const bytes = writeTranscript([[line(0, 0, state("a")), line(0, 1, state("b"))], [line(1, 0, state("c"))]], 10_000)
    expect(readTranscript(bytes, "transcript")).toEqual([[state("a"), state("b")], [state("c")]])
  })

  it("hold whole runs only", () => {
    const runs = [[line(0, 0, state("a"))], [line(1, 0, state("b"))]]
    const whole = writeTranscript(runs, 10_000)
    expect(readTranscript(writeTranscript(runs, whole.length - 1), "transcript")).toEqual([[state("a")]])
  })

  it.each([
    ["a gap", `{"run":0,"frame":1,"send":1,"receive":1}\n`],
    ["a missing run", `{"run":1,"frame":0,"send":1,"receive":1}\n`],
    ["another member", `{"run":0,"frame":0,"send":1,"receive":1,"x":1}\n`],
    ["not JSON", "nonsense\n"],
  ])("are refused with %s", (_, text) => {
    expect(() => readTranscript(new TextEncoder().encode(text), "transcript")).toThrow(
      expect.objectContaining({ code: "malformed-json" }),
    )
  })
})
