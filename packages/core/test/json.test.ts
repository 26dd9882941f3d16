import { canonicalJson, EvidenceError, limits, parseStrictJson } from "@envidence/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const parse = (text: string | Uint8Array) => parseStrictJson(Buffer.from(text), "it")
const refused = (text: string | Uint8Array): string => {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof EvidenceError) return error.code
    throw error
  }
  return "accepted"
}

/** Well-formed, no deeper than allowed, and without numbers that JSON cannot hold. */
const value = fc.jsonValue({ maxDepth: 6 }).filter(candidate => isWellFormed(JSON.stringify(candidate)))
const isWellFormed = (text: string) => !/\\u[dD][89a-fA-F]/.test(text)

describe("what is accepted", () => {
  test("is what JSON.parse gives", () => {
    fc.assert(
      fc.property(value, candidate => {
        const text = JSON.stringify(candidate)
        expect(parse(text)).toEqual(JSON.parse(text))
      }),
    )
  })
  test("with any spacing", () => {
    fc.assert(
      fc.property(value, fc.constantFrom("\t", 2, "\n"), (candidate, space) => {
        const text = JSON.stringify(candidate, null, space)
        expect(parse(` ${text}\r\n`)).toEqual(JSON.parse(text))
      }),
    )
  })
  test("is never more than JSON.parse accepts, and then the same", () => {
    const text = fc.oneof(
      fc.array(fc.constantFrom(...'{}[]:,"\\u0019eE+-. \ntfnaull', "true", "null", '"a"', '"b"', "{}"), {
        maxLength: 20,
      }),
    )
    fc.assert(
      fc.property(text, pieces => {
        const joined = pieces.join("")
        if (refused(joined) === "accepted") expect(parse(joined)).toEqual(JSON.parse(joined))
        else expect(refused(joined)).toBe("malformed-json")
      }),
      { numRuns: 2000 },
    )
  })
  test("keeps a member called __proto__ as a member", () => {
    expect(Object.keys(parse('{"__proto__":1}') as object)).toEqual(["__proto__"])
  })
})

describe("what is refused", () => {
  test("any duplicate key, however it is written", () => {
    fc.assert(
      fc.property(fc.string(), value, value, (key, first, second) => {
        const literal = JSON.stringify(key)
        const escaped = `"${Array.from({ length: key.length }, (_, i) => `\\u${key.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")}"`
        const text = `{${literal}:${JSON.stringify(first)},"other key":0,${escaped}:${JSON.stringify(second)}}`
        if (key !== "other key") expect(refused(text)).toBe("malformed-json")
      }),
    )
  })
  test("but one key in two objects is not", () => {
    expect(refused('[{"a":1},{"a":{"a":2}}]')).toBe("accepted")
  })
  test.each([
    ["a byte order mark", "\ufeff{}"],
    ["nothing", ""],
    ["two values", "{}{}"],
    ["a trailing comma", "[1,]"],
    ["a comment", "{} // x"],
    ["NaN", "NaN"],
    ["Infinity", "1e400"],
    ["a huge negative", "-1e999"],
    ["a lone high surrogate", '"\\ud800"'],
    ["a lone low surrogate", '"\\udc00x"'],
    ["a lone surrogate in a key", '{"\\ud800":1}'],
    ["a control character in a string", '"\u0001"'],
    ["a string without an end", '"abc'],
    ["an escape at the end", '"abc\\'],
    ["single quotes", "{'a':1}"],
  ])("%s", (_, text) => {
    expect(refused(text)).toBe("malformed-json")
  })
  test.each([[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82]])(
    "bytes %j",
    (...bytes) => {
      expect(refused(Buffer.from([0x22, ...bytes, 0x22]))).toBe("malformed-json")
    },
  )
  test("nesting beyond the limit, at any size", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth)
    expect(refused(nested(limits.jsonDepth))).toBe("accepted")
    expect(refused(nested(limits.jsonDepth + 1))).toBe("malformed-json")
    expect(refused("[".repeat(1_000_000))).toBe("malformed-json")
    expect(refused('{"a":'.repeat(1_000_000))).toBe("malformed-json")
  })
})

describe("tokens", () => {
  const tokens = (candidate: unknown): number => {
    if (typeof candidate !== "object" || candidate === null) return 1
    const names = Array.isArray(candidate) ? 0 : Object.keys(candidate).length
    return Object.values(candidate).reduce<number>((sum, each) => sum + tokens(each), 1 + names)
  }
  test("are counted as the specification says", () => {
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 2), (candidate, space) => {
        const bytes = Buffer.from(JSON.stringify(candidate, null, space))
        const exactly = tokens(candidate)
        expect(parseStrictJson(bytes, "it", exactly)).toEqual(JSON.parse(bytes.toString()))
        expect(() => parseStrictJson(bytes, "it", exactly - 1)).toThrow(/more than \d+ values/)
      }),
    )
  })
  test.each(["{},", "[],", '"",', "0,", "null,", "true,", "false,"])(
    "%s without end is refused before it is parsed",
    unit => {
      expect(refused(`[${unit.repeat(limits.jsonTokens)}0]`)).toBe("limit-exceeded")
    },
  )
  test("as many as the limit are read", () => {
    expect(refused(`[${"0,".repeat(limits.jsonTokens - 2)}0]`)).toBe("accepted")
  })
})

describe("canonical JSON", () => {
  test("does not depend on the order of members, and reads back as the same", () => {
    const reversed = (candidate: unknown): unknown => {
      if (Array.isArray(candidate)) return candidate.map(reversed)
      if (typeof candidate !== "object" || candidate === null) return candidate
      return Object.fromEntries(
        Object.entries(candidate)
          .reverse()
          .map(([key, inner]) => [key, reversed(inner)]),
      )
    }
    fc.assert(
      fc.property(value, candidate => {
        const text = canonicalJson(candidate)
        expect(canonicalJson(reversed(candidate))).toBe(text)
        expect(canonicalJson(parse(text))).toBe(text)
        expect(parse(text)).toEqual(JSON.parse(JSON.stringify(candidate)))
      }),
    )
  })
  // RFC 8785, section 3.2.2 and 3.2.3.
  test("is that of the RFC's example", () => {
    const example = {
      numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
      string: '\u20ac$\u000f\nA\'B"\\\\"/',
      literals: [null, true, false],
    }
    expect(canonicalJson(example)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    )
  })
  test("refuses what JSON cannot say", () => {
    expect(() => canonicalJson(undefined)).toThrow(TypeError)
    expect(() => canonicalJson({ a: Number.NaN })).toThrow()
  })
})
