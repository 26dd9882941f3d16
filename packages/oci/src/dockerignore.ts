import { posix } from "node:path"
import { EvidenceError } from "@envidence/core"

// The rules of Docker's builder (moby/patternmatcher, MatchesOrParentMatches), matched in linear time. The known library
// compiles patterns into regular expressions without escaping them all, so that a stranger's file could hold `(a+)+$`
// and never come back.

const MAX_PATTERNS = 1024
const MAX_CLASS_CHARACTERS = 256
// Over all paths, some seconds: one pattern like `**/*.pyc` takes some fifteen million for 100,000 files.
const MAX_STEPS = 500_000_000

interface Rule {
  readonly pattern: Pattern
  /** `!pattern`: takes matching files back in. */
  readonly exception: boolean
}

type Token =
  | { readonly kind: "character"; readonly character: string }
  /** `?`, and `[…]` with its ranges. */
  | { readonly kind: "one"; readonly accepts: (character: string) => boolean; readonly cost: number }
  /** `*` stays in one component, `**` does not. */
  | { readonly kind: "many"; readonly acrossSlashes: boolean }
  /** A `**` before more pattern stands for whole components, or for none. */
  | { readonly kind: "components" }

/** Which paths of a build context a .dockerignore leaves out. */
export class DockerIgnore {
  readonly #rules: readonly Rule[]
  readonly #maxSteps: number

  /** @throws EvidenceError invalid-submission for a pattern that Docker's builder refuses, or too many of them */
  constructor(text: string, maxSteps: number = MAX_STEPS) {
    this.#maxSteps = maxSteps
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

  /**
   * `path` is relative to the context, with slashes.
   *
   * @throws EvidenceError invalid-submission where the patterns take too long over all paths asked for
   */
  ignores(path: string): boolean {
    const characters = Array.from(path)
    let ignored = false
    let steps = 0
    for (const { pattern, exception } of this.#rules) {
      if (ignored === exception && pattern.matchesPathOrParent(characters)) ignored = !exception
      steps += pattern.steps
    }
    if (steps > this.#maxSteps) throw invalid("its patterns take too long on this folder's paths")
    return ignored
  }
}

const invalid = (why: string) => new EvidenceError("invalid-submission", `.dockerignore: ${why}`)

function parseRule(line: string): Rule {
  const exception = line.startsWith("!")
  const cleaned = clean(exception ? line.slice(1).trim() : line)
  if (cleaned === "") throw invalid("an exception without a pattern")
  return { pattern: new Pattern(tokenize(cleaned)), exception }
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
      if (i + 1 >= characters.length) tokens.push({ kind: "many", acrossSlashes: true })
      // Whole components, or none, after the same are the same.
      else if (tokens.at(-1)?.kind !== "components") tokens.push({ kind: "components" })
    } else if (character === "*") tokens.push({ kind: "many", acrossSlashes: false })
    else if (character === "?") tokens.push({ kind: "one", accepts: one => one !== "/", cost: 1 })
    else if (character === "[") {
      const end = endOfClass(characters, i, pattern)
      tokens.push({ kind: "one", accepts: parseClass(characters.slice(i + 1, end)), cost: end - i })
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
    if (i - start > MAX_CLASS_CHARACTERS) throw invalid(`a […] of more than ${MAX_CLASS_CHARACTERS} characters`)
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

/** One pattern, and the memory that matching it takes. */
class Pattern {
  readonly #tokens: readonly Token[]
  #states: States
  #next: States
  /** How much work it has been. */
  steps = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
    this.#states = new States(tokens)
    this.#next = new States(tokens)
  }

  matchesPathOrParent(characters: readonly string[]): boolean {
    this.#states.clear()
    this.#states.add(0)
    for (let position = 0; position < characters.length; position++) {
      const character = characters[position] as string
      // All of a parent has been read.
      if (character === "/" && position > 0 && this.#states.accept) return true
      this.#step(character)
      if (this.#states.size === 0) return false
    }
    return this.#states.accept
  }

  #step(character: string): void {
    const [states, next] = [this.#states, this.#next]
    next.clear()
    for (let i = 0; i < states.size; i++) {
      const state = states.at(i)
      const token = this.#tokens[state >> 1]
      if (token !== undefined) this.#advance(token, state, character, next)
    }
    this.#states = next
    this.#next = states
  }

  #advance(token: Token, state: number, character: string, next: States): void {
    this.steps++
    if (token.kind === "character") {
      if (token.character === character) next.add(state + 2)
    } else if (token.kind === "one") {
      this.steps += token.cost
      if (token.accepts(character)) next.add(state + 2)
    } else if (token.kind === "many") {
      if (token.acrossSlashes || character !== "/") next.add(state)
    } else {
      // Only a slash leads on.
      next.add(state | 1)
      if (character === "/") next.add((state | 1) + 1)
    }
  }
}

/**
 * A set of states that the pattern may be in: before a token, at twice its index, or in the middle of the components
 * that a `**` stands for, one more.
 */
class States {
  readonly #tokens: readonly Token[]
  readonly #list: Uint32Array
  readonly #holds: Uint8Array
  size = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
    this.#list = new Uint32Array(2 * tokens.length + 1)
    this.#holds = new Uint8Array(2 * tokens.length + 1)
  }

  /** Whether the whole pattern may have been matched. */
  get accept(): boolean {
    return this.#holds[2 * this.#tokens.length] === 1
  }

  at(index: number): number {
    return this.#list[index] as number
  }

  /** And the states after it that need no character: what may be empty can be stepped over. */
  add(state: number): void {
    for (let each = state; this.#holds[each] === 0; each += 2) {
      this.#holds[each] = 1
      this.#list[this.size++] = each
      const kind = each % 2 === 0 ? this.#tokens[each / 2]?.kind : undefined
      if (kind !== "many" && kind !== "components") return
    }
  }

  clear(): void {
    for (let i = 0; i < this.size; i++) this.#holds[this.at(i)] = 0
    this.size = 0
  }
}
