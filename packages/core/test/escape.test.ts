import {
  columnsOf,
  escapeIdentity,
  escapeJson,
  escapeMarkdown,
  escapeTerminal,
  isVisible,
  shorten,
  shortenToColumns,
  wrapBeside,
} from "@envidence/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\p{Cn}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/u
const RIGHT_TO_LEFT =
  /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.array(fc.integer({ min: 0, max: 0xffff }).map(unit => String.fromCharCode(unit))).map(units => units.join("")),
)
/** What GitHub's filters see: character references decoded. */
const decoded = (markdown: string) =>
  markdown.replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))

describe("a terminal", () => {
  test("sees no character that cannot be seen", () => {
    fc.assert(fc.property(anyText, text => !UNSEEN.test(escapeTerminal(text))))
  })
  test("sees no letter that reorders its line", () => {
    const letters = fc.array(
      fc.constantFrom("a", "1", " ", "\u05d0", "\u0627", "\ufe8e", "\u{10900}", "\u{1e900}", "\u{1ee00}"),
    )
    fc.assert(fc.property(letters, some => !/[^ -~]/.test(escapeTerminal(some.join("")))))
    fc.assert(fc.property(anyText, text => !RIGHT_TO_LEFT.test(escapeTerminal(text))))
  })
  test("sees no marks but a few on a letter of their own", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", " ", "\u0301", "\u0316", "\u20dd")), some => {
        const shown = escapeTerminal(some.join(""))
        expect(shown).not.toMatch(/\p{M}{5}|(?<!\S)\p{M}/u)
      }),
    )
    expect(escapeTerminal("e\u0301 \u0301x")).toBe("e\u0301 \\u{301}x")
  })
  test("sees printable text as it is", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme-ascii" }), text => escapeTerminal(text) === text))
    expect(escapeTerminal("größe 大 é")).toBe("größe 大 é")
  })
  test.each([
    ["\u001b[31mred", "\\u{1b}[31mred"],
    ["a\u202eb", "a\\u{202e}b"],
    ["line\nline\r", "line\\u{a}line\\u{d}"],
    ["a\u200bb", "a\\u{200b}b"],
    ["a\u3164b", "a\\u{3164}b"],
    ["a\u2800b", "a\\u{2800}b"],
    ["a\ufe0fb", "a\\u{fe0f}b"],
    ["a\u00a0b", "a\\u{a0}b"],
    ["12 \u05d0 34", "12 \\u{5d0} 34"],
    ["\u009b0m", "\\u{9b}0m"],
    ["\ud800x", "\\u{d800}x"],
  ])("%j is shown as %j", (text, shown) => {
    expect(escapeTerminal(text)).toBe(shown)
  })
  test("sees an identity in ASCII alone", () => {
    fc.assert(fc.property(anyText, text => /^[\x20-\x7e]*$/.test(escapeIdentity(text))))
    expect(escapeIdentity("аlice")).toBe("\\u{430}lice")
  })
})

test("JSON is shown without anything unseen, and reads back as the same", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyText, anyText), { maxLength: 4 }), pairs => {
      const value = Object.fromEntries(pairs)
      const shown = escapeJson(JSON.stringify(value, null, 2))
      expect(JSON.parse(shown)).toEqual(JSON.parse(JSON.stringify(value)))
      expect(UNSEEN.test(shown.replaceAll("\n", ""))).toBe(false)
    }),
  )
  expect(escapeJson(JSON.stringify("\\\u009b\u{e0100}"))).toBe('"\\\\\\u009b\\udb40\\udd00"')
})

test.each([
  "",
  " ",
  "\t\n",
  "\u00a0",
  "\u200b",
  "\u2060",
  "\u3164",
  "\u2800",
  "\u00ad",
  "\0",
  "\ufe0f",
  "\u200e",
  "\u0301",
])("%j has nothing to see", text => {
  expect([isVisible(text), isVisible(`${text}x`), isVisible(`${text}\u05d0`)]).toEqual([false, true, true])
})

describe("columns", () => {
  test("are two for a wide character, none for a mark, one for others", () => {
    expect(["abc", "\u5bec\u5bec", "e\u0301", "\u{1f44d}"].map(columnsOf)).toEqual([3, 4, 1, 2])
  })
  test("are what lines are broken at and titles cut to", () => {
    const wide = fc.string({ unit: fc.constantFrom("a", " ", "\u5bec", "\u{1f44d}", "e\u0301"), maxLength: 300 })
    fc.assert(fc.property(wide, text => wrapBeside("label", text, 14).every(line => columnsOf(line) <= 80)))
    fc.assert(fc.property(wide, text => columnsOf(shortenToColumns(text, 20)) <= 20))
    expect(wrapBeside("", "\u5bec".repeat(100), 14).join("").replaceAll(" ", "")).toBe("\u5bec".repeat(100))
  })
})

describe("Markdown", () => {
  test("holds nothing that is markup, in any text", () => {
    fc.assert(fc.property(anyText, text => !/[<>`[\]|*_~\\\n\r]/.test(escapeMarkdown(text))))
  })
  test("reads as the same text, but for spaces that are not seen", () => {
    fc.assert(
      fc.property(anyText, text => decoded(escapeMarkdown(text)).replaceAll("\u200b", "") === escapeTerminal(text)),
    )
  })
  const parts = ["@", "#", "gh-", "GH-", "www.", "http", "s", "://", "a", "1", ".", " ", "/", "&#64;", "@@", "##", "-"]
  test("makes no mention, reference or link once decoded", () => {
    const texts = fc.array(fc.constantFrom(...parts), { maxLength: 12 }).map(some => some.join(""))
    fc.assert(fc.property(texts, text => !/[@#]\w|\bgh-\d|:\/\/|\bwww\.\w/i.test(decoded(escapeMarkdown(text)))))
  })
  test.each(["- item", "1. item", "1) item", "= rule", "--- rule"])("begins no block: %s", text => {
    expect(escapeMarkdown(text)).toMatch(/^&#8203;/)
  })
})

test("shortening keeps the length and says so", () => {
  expect(shorten("abcdef", 6)).toBe("abcdef")
  expect(shorten("abcdefg", 6)).toBe("abcde…")
})
