import { posix } from "node:path"
import { EvidenceError } from "@envidence/core"

// The rules of Docker's builder (moby/patternmatcher, MatchesOrParentMatches), matched in linear time. The known library
// compiles patterns into regular expressions without escaping them all, so that a stranger's file could hold `(a+)+$`
// and never come back.

const MAX_PATTERNS = 1024

interface Rule {
  readonly tokens: readonly Token[]
  /** `!pattern`: takes matching files back in. */
  readonly exception: boolean
}

type Token =
  | { readonly kind: "character"; readonly character: string }
  /** `?`, and `[…]` with its ranges. */
  | { readonly kind: "one"; readonly accepts: (character: string) => boolean }
  /** `*` stays in one component, `**` does not. */
  | { readonly kind: "many"; readonly acrossSlashes: boolean }
  /** A `**` before more pattern stands for whole components, or for none. */
  | { readonly kind: "components" }

/** Which paths of a build context a .dockerignore leaves out. */
export class DockerIgnore {
  readonly #rules: readonly Rule[]

  /** @throws EvidenceError invalid-submission for a pattern that Docker's builder refuses, or too many of them */
  constructor(text: string) {
    this.#rules = text
      .replace(/^\ufeff/, "")
      .split("\n")
      .filter(line => !line.startsWith("#"))
      .map(line => line.trim())
      .filter(line => line !== "")
      .map(parseRule)
    if (this.#rules.length > MAX_PATTERNS) throw invalid(`more than ${MAX_PATTERNS} patterns`)
  }

  /** Where there are no exceptions, nothing below an ignored folder can be taken back in. */
  get hasExceptions(): boolean {
    return this.#rules.some(rule => rule.exception)
  }

  /** `path` is relative to the context, with slashes. */
  ignores(path: string): boolean {
    let ignored = false
    for (const { tokens, exception } of this.#rules)
      if (ignored === exception && matchesPathOrParent(tokens, path)) ignored = !exception
    return ignored
  }
}

const invalid = (why: string) => new EvidenceError("invalid-submission", `.dockerignore: ${why}`)

function parseRule(line: string): Rule {
  const exception = line.startsWith("!")
  const cleaned = clean(exception ? line.slice(1).trim() : line)
  if (cleaned === "") throw invalid("an exception without a pattern")
  return { tokens: tokenize(cleaned), exception }
}

// Go's filepath.Clean, then relative to the context.
function clean(pattern: string): string {
  if (pattern === "") return ""
  const normal = posix.normalize(pattern)
  const relative = normal.length > 1 ? normal.replace(/^\//, "") : normal
  return relative.length > 1 ? relative.replace(/\/$/, "") : relative
}

function tokenize(pattern: string): Token[] {
  const characters = Array.from(pattern)
  const tokens: Token[] = []
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i] as string
    if (character === "*" && characters[i + 1] === "*") {
      i++
      if (characters[i + 1] === "/") i++
      tokens.push(i + 1 >= characters.length ? { kind: "many", acrossSlashes: true } : { kind: "components" })
    } else if (character === "*") tokens.push({ kind: "many", acrossSlashes: false })
    else if (character === "?") tokens.push({ kind: "one", accepts: one => one !== "/" })
    else if (character === "[") {
      const end = endOfClass(characters, i, pattern)
      tokens.push({ kind: "one", accepts: parseClass(characters.slice(i + 1, end)) })
      i = end
    } else if (character === "\\") {
      const escaped = characters[++i]
      if (escaped === undefined) throw invalid(`${JSON.stringify(pattern)} ends in a backslash`)
      tokens.push({ kind: "character", character: escaped })
    } else tokens.push({ kind: "character", character })
  }
  return tokens
}

function endOfClass(characters: readonly string[], start: number, pattern: string): number {
  const first = characters[start + 1] === "^" ? start + 2 : start + 1
  for (let i = first; i < characters.length; i++) {
    if (characters[i] === "\\") i++
    else if (characters[i] === "]" && i > first) return i
  }
  throw invalid(`${JSON.stringify(pattern)} has a [ without its ]`)
}

function parseClass(body: readonly string[]): (character: string) => boolean {
  const negated = body[0] === "^"
  const ranges: [string, string][] = []
  for (let i = negated ? 1 : 0; i < body.length; i++) {
    const low = body[i] === "\\" ? (body[++i] ?? "\\") : (body[i] as string)
    if (body[i + 1] === "-" && i + 2 < body.length) {
      i += 2
      ranges.push([low, body[i] === "\\" ? (body[++i] ?? "\\") : (body[i] as string)])
    } else ranges.push([low, low])
  }
  return character =>
    character !== "/" && ranges.some(([low, high]) => low <= character && character <= high) !== negated
}

function matchesPathOrParent(tokens: readonly Token[], path: string): boolean {
  const characters = Array.from(path)
  let states = closure(tokens, new Set([0]))
  for (const [position, character] of characters.entries()) {
    // All of a parent has been read.
    if (character === "/" && position > 0 && states.has(tokens.length)) return true
    states = closure(tokens, step(tokens, states, character))
    if (states.size === 0) return false
  }
  return states.has(tokens.length)
}

/** States that need no character: what may be empty can be stepped over. */
function closure(tokens: readonly Token[], states: Set<number>): Set<number> {
  // Sets visit what is added meanwhile.
  for (const state of states) {
    const kind = tokens[state]?.kind
    if (kind === "many" || kind === "components") states.add(state + 1)
  }
  return states
}

const INSIDE = 0.5 // in the middle of the components that a `**` stands for: only a slash leads on

function step(tokens: readonly Token[], states: ReadonlySet<number>, character: string): Set<number> {
  const next = new Set<number>()
  for (const state of states) {
    const token = tokens[Math.floor(state)]
    if (token === undefined) continue
    if (token.kind === "character") {
      if (token.character === character) next.add(state + 1)
    } else if (token.kind === "one") {
      if (token.accepts(character)) next.add(state + 1)
    } else if (token.kind === "many") {
      if (token.acrossSlashes || character !== "/") next.add(state)
    } else {
      next.add(Math.floor(state) + INSIDE)
      if (character === "/") next.add(Math.floor(state) + 1)
    }
  }
  return next
}
