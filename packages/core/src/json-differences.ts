import { canonicalJson, type Json } from "./json.js"

/** Where two JSON values differ. `undefined` stands for a member or an element that only the other one has. */
export interface JsonDifference {
  /** JSON pointer (RFC 6901). */
  readonly pointer: string
  readonly first: Json | undefined
  readonly second: Json | undefined
}

/**
 * Every place where two JSON values differ, deepest first, in the order of the sorted member names. Lazy, so that a
 * caller takes as many as it wants to show. The values must be bounded in depth (`parseStrictJson`).
 */
export function* jsonDifferences(
  first: Json | undefined,
  second: Json | undefined,
  pointer = "",
): Generator<JsonDifference, void, undefined> {
  if (isJsonArray(first) && isJsonArray(second)) yield* elementDifferences(first, second, pointer)
  else if (isJsonObject(first) && isJsonObject(second)) yield* memberDifferences(first, second, pointer)
  else if (first !== second) yield { pointer, first, second }
}

function* elementDifferences(first: readonly Json[], second: readonly Json[], pointer: string) {
  const length = Math.max(first.length, second.length)
  for (let i = 0; i < length; i++) yield* jsonDifferences(first[i], second[i], `${pointer}/${i}`)
}

function* memberDifferences(first: JsonObject, second: JsonObject, pointer: string): Generator<JsonDifference> {
  const names = [...new Set([...Object.keys(first), ...Object.keys(second)])].sort()
  for (const name of names) yield* jsonDifferences(own(first, name), own(second, name), `${pointer}/${escaped(name)}`)
}

type JsonObject = { readonly [key: string]: Json }

export const isJsonArray = (value: unknown): value is readonly Json[] => Array.isArray(value)
export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

// A stranger's object may have a member called "toString": never look up the prototype.
const own = (object: JsonObject, name: string) => (Object.hasOwn(object, name) ? object[name] : undefined)

const escaped = (name: string) => name.replaceAll("~", "~0").replaceAll("/", "~1")

/** A value as one line for a person: canonical JSON, cut to `limit` characters. */
export function describeJson(value: Json | undefined, limit = 256): string {
  return clipText(value === undefined ? "(absent)" : canonicalJson(value), limit)
}

/** Cuts at `limit` UTF-16 units without leaving half a surrogate pair behind. */
export function clipText(text: string, limit: number): string {
  return text.length <= limit ? text.toWellFormed() : `${text.slice(0, limit - 1).toWellFormed()}…`
}
