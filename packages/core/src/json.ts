import canonicalize from "canonicalize"
import { decodeUtf8, encodeUtf8 } from "./encoding.js"
import { EvidenceError } from "./errors.js"
import { limits } from "./limits.js"

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/**
 * Parses JSON (RFC 8259) and refuses what parsers disagree about: duplicate keys, a byte order mark, lone surrogates,
 * numbers that overflow, and nesting beyond `limits.jsonDepth`. `what` names the document in messages.
 *
 * @throws EvidenceError malformed-json
 */
export function parseStrictJson(bytes: Uint8Array, what: string): unknown {
  const text = decodeUtf8(bytes, what)
  let value: unknown
  // The screen bounds the depth first; then JSON.parse settles the grammar, which the screen does not check.
  screen(text, what)
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new EvidenceError("malformed-json", `${what} is not JSON`, { cause })
  }
  return value
}

const NUMBER = /-?\d[\d.eE+-]*/y

function screen(text: string, what: string): void {
  const refuse = (why: string) => new EvidenceError("malformed-json", `${what}: ${why}`)
  // For each open object the keys seen so far; `null` stands for an open array.
  const open: (Set<string> | null)[] = []
  let position = 0
  let expectKey = false
  while (position < text.length) {
    const char = text[position]
    if (char === '"') {
      const literal = text.slice(position, endOfString(text, position, refuse))
      const keys = open.at(-1)
      if (literal.includes("\\u") || /[\ud800-\udfff]/.test(literal)) checkSurrogates(literal, refuse)
      if (expectKey && keys) {
        const key = unquote(literal, refuse)
        if (keys.has(key)) throw refuse(`duplicate key ${literal.slice(0, 64)}`)
        keys.add(key)
        expectKey = false
      }
      position += literal.length
      continue
    }
    if (char === "-" || (char !== undefined && char >= "0" && char <= "9")) {
      NUMBER.lastIndex = position
      const literal = NUMBER.exec(text)?.[0] ?? char
      if (!Number.isFinite(Number(literal))) throw refuse(`number out of range at character ${position}`)
      position += literal.length
      continue
    }
    if (char === "{" || char === "[") {
      open.push(char === "{" ? new Set() : null)
      expectKey = char === "{"
      if (open.length > limits.jsonDepth) throw refuse(`nested deeper than ${limits.jsonDepth}`)
    } else if (char === "}" || char === "]") {
      open.pop()
      expectKey = false
    } else if (char === ",") expectKey = open.at(-1) instanceof Set
    position++
  }
}

// By hand, since a regular expression over a string of megabytes exhausts the engine's stack.
function endOfString(text: string, start: number, refuse: (why: string) => EvidenceError): number {
  for (let i = start + 1; i < text.length; i++) {
    const char = text[i]
    if (char === '"') return i + 1
    if (char === "\\") i++
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
