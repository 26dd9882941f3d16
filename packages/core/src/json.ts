import canonicalize from "canonicalize"
import { decodeUtf8, encodeUtf8 } from "./encoding.js"
import { EvidenceError } from "./errors.js"
import { limits } from "./limits.js"

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/**
 * Parses JSON (RFC 8259) and refuses what parsers disagree about: duplicate keys, a byte order mark, lone surrogates,
 * numbers that overflow, and nesting beyond `limits.jsonDepth`. `what` names the document in messages. Tokens are
 * strings (names of members among them), numbers, literals, objects and lists: three bytes of text can cost sixty of
 * memory.
 *
 * @throws EvidenceError malformed-json; limit-exceeded beyond `maxTokens`
 */
export function parseStrictJson(bytes: Uint8Array, what: string, maxTokens: number = limits.jsonTokens): unknown {
  const text = decodeUtf8(bytes, what)
  let value: unknown
  // The screen bounds the depth and the tokens first; then JSON.parse settles the grammar, which it does not check.
  screen(text, what, maxTokens)
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new EvidenceError("malformed-json", `${what} is not JSON`, { cause })
  }
  return value
}

const NUMBER = /-?\d[\d.eE+-]*/y

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPENING = new Set(Array.from("{[", codeOf))
const CLOSING = new Set(Array.from("}]", codeOf))
const OBJECT = codeOf("{")
// Each letter begins one literal and stands in no other.
const LITERAL = new Set(Array.from("tfn", codeOf))
const MINUS = 0x2d
const [ZERO, NINE] = [0x30, 0x39]

function codeOf(char: string): number {
  return char.charCodeAt(0)
}

function screen(text: string, what: string, maxTokens: number): void {
  const refuse = (why: string) => new EvidenceError("malformed-json", `${what}: ${why}`)
  // For each open object the keys seen so far, once there is one; `null` stands for an open array.
  const open: (Set<string> | undefined | null)[] = []
  let position = 0
  let expectKey = false
  let tokens = 0
  const count = () => {
    if (++tokens > maxTokens)
      throw new EvidenceError("limit-exceeded", `${what} has more than ${maxTokens} values and names`)
  }
  while (position < text.length) {
    const code = text.charCodeAt(position)
    if (code === QUOTE) {
      count()
      const literal = text.slice(position, endOfString(text, position, refuse))
      if (literal.includes("\\u") || /[\ud800-\udfff]/.test(literal)) checkSurrogates(literal, refuse)
      if (expectKey) {
        open[open.length - 1] = withKey(open.at(-1) ?? new Set(), literal, refuse)
        expectKey = false
      }
      position += literal.length
      continue
    }
    if (code === MINUS || (code >= ZERO && code <= NINE)) {
      count()
      NUMBER.lastIndex = position
      const literal = NUMBER.exec(text)?.[0] ?? "-"
      if (!Number.isFinite(Number(literal))) throw refuse(`number out of range at character ${position}`)
      position += literal.length
      continue
    }
    if (OPENING.has(code)) {
      count()
      expectKey = code === OBJECT
      open.push(expectKey ? undefined : null)
      if (open.length > limits.jsonDepth) throw refuse(`nested deeper than ${limits.jsonDepth}`)
    } else if (CLOSING.has(code)) {
      open.pop()
      expectKey = false
    } else if (code === COMMA) expectKey = open.length > 0 && open.at(-1) !== null
    else if (LITERAL.has(code)) count()
    position++
  }
}

function withKey(keys: Set<string>, literal: string, refuse: (why: string) => EvidenceError): Set<string> {
  const key = unquote(literal, refuse)
  if (keys.has(key)) throw refuse(`duplicate key ${literal.slice(0, 64)}`)
  return keys.add(key)
}

// By hand, since a regular expression over a string of megabytes exhausts the engine's stack.
function endOfString(text: string, start: number, refuse: (why: string) => EvidenceError): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) return i + 1
    if (code === BACKSLASH) i++
  }
  throw refuse(`a string without an end at character ${start}`)
}

function unquote(literal: string, refuse: (why: string) => EvidenceError): string {
  try {
    return JSON.parse(literal) as string
  } catch {
    throw refuse(`broken string ${literal.slice(0, 64)}`)
  }
}

function checkSurrogates(literal: string, refuse: (why: string) => EvidenceError): void {
  if (!unquote(literal, refuse).isWellFormed()) throw refuse("a lone surrogate in a string")
}

/** Canonical JSON (RFC 8785). @throws TypeError on what JSON cannot express: a programming error here. */
export function canonicalJson(value: unknown): string {
  const text = canonicalize(value)
  if (text === undefined) throw new TypeError("not expressible in JSON")
  return text
}

export const canonicalJsonBytes = (value: unknown): Uint8Array => encodeUtf8(canonicalJson(value))
