import { actionsFromSchema } from "@envidence/emit"
import { Ajv2020 } from "ajv/dist/2020.js"
import { describe, expect, it } from "vitest"

const action = {
  $defs: { Move: { enum: ["up", "down", "left", "right"], type: "string" } },
  type: "object",
  additionalProperties: false,
  properties: {
    metadata: { type: "object", additionalProperties: true },
    move: { $ref: "#/$defs/Move" },
    power: { type: "integer", minimum: 1, maximum: 3, default: 1 },
    note: { anyOf: [{ type: "string", maxLength: 32 }, { type: "null" }] },
    path: { type: "array", items: { type: "string", pattern: "^[a-z]{3}$" }, maxItems: 3 },
  },
  required: ["move", "metadata"],
}

const { metadata: _, ...properties } = action.properties
const validate = new Ajv2020().compile({ ...action, properties, required: ["move"] })

describe("actions from a schema", () => {
  it("are valid, without metadata, and the same for the same number", () => {
    const source = actionsFromSchema({ action })
    const again = actionsFromSchema({ action })
    const numbers = Array.from({ length: 500 }, (_, i) => i * 7919)
    for (const number of numbers) {
      expect(validate(source(number)), JSON.stringify(source(number))).toBe(true)
      expect(again(number)).toEqual(source(number))
    }
    expect(new Set(numbers.map(number => source(number).move)).size).toBe(4)
  })

  it.each<[string, object]>([
    ["no action", {}],
    ["no properties", { action: { type: "string" } }],
    [
      "a broken reference",
      { action: { type: "object", properties: { x: { $ref: "#/$defs/gone" } }, required: ["x"] } },
    ],
    ["a huge minimum", { action: { properties: { x: { type: "array", minItems: 1e9, items: {} } } } }],
    ["a huge repetition", { action: { properties: { x: { type: "string", pattern: "a{100000000}" } } } }],
  ])("are refused with %s", (_, schema) => {
    expect(() => actionsFromSchema(schema as Parameters<typeof actionsFromSchema>[0])).toThrow(
      expect.objectContaining({ code: "unsupported-action-space" }),
    )
  })
})
