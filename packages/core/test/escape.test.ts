import { escapeIdentity, escapeMarkdown, escapeTerminal, shorten } from "@envidence/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\p{Cn}]/u
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
  test("sees printable text as it is", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme-ascii" }), text => escapeTerminal(text) === text))
    expect(escapeTerminal("größe 大 é")).toBe("größe 大 é")
  })
  test.each([
    ["\u001b[31mred", "\\u{1b}[31mred"],
    ["a\u202eb", "a\\u{202e}b"],
    ["line\nline\r", "line\\u{a}line\\u{d}"],
    ["a\u200bb", "a\\u{200b}b"],
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
