// One escaper for each output format. Contributors choose paths, labels, messages and names: none of them may steer a
// terminal, a Markdown renderer or whoever reads logs line by line.

// Controls, format characters (bidirectional overrides, zero-width ones), line and paragraph separators, private use,
// surrogates, unassigned and default-ignorable code points, blanks that are letters or symbols by name (fillers, the
// empty Braille pattern, blank hieroglyphs), and every space but the ordinary one.
const UNSEEN =
  "\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Co}\\p{Cs}\\p{Cn}\\p{Default_Ignorable_Code_Point}" +
  "\\u115f\\u1160\\u2800\\u3164\\uffa0\\u{13441}\\u{13442}\\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000"

// The blocks whose letters run from right to left (Unicode, DerivedBidiClass.txt: default class R or AL): Hebrew, Arabic
// and others. One such letter reorders the figures and marks beside it in a line of a report, so that they read as
// another fact. An honest name in these scripts becomes code points: safe, if not readable.
const REORDERING = "\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufeff\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}"

// Marks that would be drawn over what is not theirs: one without a letter before it, and the fifth and later on one
// letter, which climb into the lines above.
const STRAY_MARK = "(?<!\\S)\\p{M}|(?<=\\p{M}{4})\\p{M}"

const UNSAFE = new RegExp(`[${UNSEEN}${REORDERING}]|${STRAY_MARK}`, "gu")

const VISIBLE = new RegExp(`[^\\s\\p{M}${UNSEEN}]`, "u")

const codePoint = (char: string): string => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`

/** One line of plain text for a terminal or a log. */
export const escapeTerminal = (text: string): string => text.replace(UNSAFE, codePoint)

/** Whether there is anything in it that a person sees. */
export const isVisible = (text: string): boolean => VISIBLE.test(text)

/** JSON text whose strings hold only what a terminal may show; it reads back as the same value. */
export const escapeJson = (json: string): string =>
  json.replace(UNSAFE, char =>
    char === "\n"
      ? char
      : Array.from({ length: char.length }, (_, i) => `\\u${char.charCodeAt(i).toString(16).padStart(4, "0")}`).join(
          "",
        ),
  )

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
