// One escaper for each output format. Contributors choose paths, labels, messages and names: none of them may steer a
// terminal, a Markdown renderer or whoever reads logs line by line.

// Controls, format characters (bidirectional overrides, zero-width ones), line and paragraph separators, private use,
// surrogates and unassigned code points: what a person cannot see, or sees as something else.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\p{Cn}]/gu

const codePoint = (char: string): string => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`

/** One line of plain text for a terminal or a log. */
export const escapeTerminal = (text: string): string => text.replace(UNSEEN, codePoint)

/** For identities, where a letter that only looks like another is an attack: all beyond ASCII is shown as code points. */
export const escapeIdentity = (text: string): string => escapeTerminal(text).replace(/[^\x20-\x7e]/gu, codePoint)

/** Inline Markdown (GitHub's flavour): no markup, HTML, link, mention, reference or table cell comes out of `text`. */
export const escapeMarkdown = (text: string): string =>
  escapeTerminal(text)
    // A colon makes links (https://, mailto:) and emoji, but not before a space.
    .replace(/[^A-Za-z0-9 ,.:/;=%()'"\u00a0-\u{10ffff}-]|:(?! )/gu, char => `&#${char.codePointAt(0)};`)
    // GitHub looks for mentions, references and addresses after references to characters are decoded: an unseen space
    // inside is what stops it.
    .replace(/&#(?:35|64);|&#58;(?=\/\/)|\b(?:www\.|gh-(?=\d))/gi, match => `${match}&#8203;`)
    // A digit or dash and what follows could begin a list or a rule at the start of a line.
    .replace(/^(\s*)([-=]|\d+[.)])/, (_, space: string, marker: string) => `${space}&#8203;${marker}`)

/** Cut to `length` UTF-16 units, with a mark that it was; no half of a surrogate pair is left. */
export const shorten = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`
