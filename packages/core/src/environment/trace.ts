import { sha256Hex } from "../digest.js"
import { encodeUtf8 } from "../encoding.js"
import { EvidenceError } from "../errors.js"
import { canonicalJson, canonicalJsonBytes, type Json, parseStrictJson } from "../json.js"
import { clipText, describeJson, isJsonObject, type JsonDifference, jsonDifferences } from "../json-differences.js"

// An episode as the wire showed it: one message of the server a frame, in order. What is compared leaves out what an
// environment may vary under one seed without changing the task: free-form metadata, and the episode's own name.
const VOLATILE: Readonly<Record<string, readonly (readonly string[])[]>> = {
  observation: [
    ["data", "metadata"],
    ["data", "observation", "metadata"],
  ],
  state: [
    ["data", "metadata"],
    ["data", "episode_id"],
  ],
}

const volatileOf = (message: Json): readonly (readonly string[])[] =>
  (isJsonObject(message) && typeof message.type === "string" && Object.hasOwn(VOLATILE, message.type)
    ? VOLATILE[message.type]
    : undefined) ?? []

/** The message less what may vary. */
export function comparableFrame(message: Json): Json {
  return volatileOf(message).reduce(without, message)
}

function without(value: Json, path: readonly string[]): Json {
  const [name, ...rest] = path
  if (name === undefined || !isJsonObject(value) || !Object.hasOwn(value, name)) return value
  const { [name]: inner, ...others } = value
  return rest.length === 0 || inner === undefined ? others : { ...others, [name]: without(inner, rest) }
}

/** JSON pointers, left out of the comparison, whose values differ between two messages at one place of an episode. */
export function volatileDifferences(first: Json, second: Json): string[] {
  if (typeOf(first) !== typeOf(second)) return []
  return volatileOf(first)
    .flatMap(path => [...jsonDifferences(at(first, path), at(second, path), `/${path.join("/")}`)])
    .map(difference => clipText(difference.pointer, 1024))
}

const typeOf = (message: Json) => (isJsonObject(message) ? message.type : undefined)

function at(value: Json | undefined, path: readonly string[]): Json | undefined {
  return path.reduce<Json | undefined>(
    (inner, name) => (isJsonObject(inner) && Object.hasOwn(inner, name) ? inner[name] : undefined),
    value,
  )
}

export interface TraceDigests {
  /** sha256 (hex) of the canonical JSON of the first frame's observation, metadata left out. */
  readonly first: string
  /** sha256 (hex) of the canonical JSON of the list of all comparable frames. */
  readonly trace: string
}

/** Digests of one episode, from the server's messages as parsed. */
export async function traceDigests(messages: readonly Json[]): Promise<TraceDigests> {
  const frames = messages.map(comparableFrame)
  const observation = at(frames[0], ["data", "observation"]) ?? null
  return { first: await sha256Hex(canonicalJsonBytes(observation)), trace: await sha256Hex(canonicalJsonBytes(frames)) }
}

export interface TraceDifference {
  readonly frame: number
  readonly pointer: string
  readonly first: string
  readonly second: string
}

/** The first place where two episodes differ; undefined where their comparable frames agree. */
export function firstTraceDifference(first: readonly Json[], second: readonly Json[]): TraceDifference | undefined {
  const length = Math.max(first.length, second.length)
  for (let frame = 0; frame < length; frame++) {
    const { value } = jsonDifferences(comparableOf(first[frame]), comparableOf(second[frame])).next()
    if (value) return described(frame, value)
  }
  return undefined
}

const comparableOf = (message: Json | undefined) => (message === undefined ? undefined : comparableFrame(message))

const described = (frame: number, difference: JsonDifference): TraceDifference => ({
  frame,
  pointer: clipText(difference.pointer, 1024),
  first: describeJson(difference.first),
  second: describeJson(difference.second),
})

/** One line of artifacts/seeded-determinism/transcript.jsonl. */
export interface TranscriptLine {
  /** Index into the observation's `runs`. */
  readonly run: number
  /** Index of the message within the run. */
  readonly frame: number
  readonly send: Json
  readonly receive: Json
}

/**
 * Episodes as JSON Lines, whole runs only: the first run that would take the file beyond `limitBytes` ends it, so that
 * every run that is there can be recomputed.
 */
export function writeTranscript(runs: readonly (readonly TranscriptLine[])[], limitBytes: number): Uint8Array {
  const parts: Uint8Array[] = []
  let size = 0
  for (const run of runs) {
    const part = encodeUtf8(run.map(line => `${canonicalJson(line)}\n`).join(""))
    if (size + part.length > limitBytes) break
    parts.push(part)
    size += part.length
  }
  return concatenated(parts, size)
}

function concatenated(parts: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

/**
 * The server's messages of each run of a transcript, by the run's index: what a verifier hashes again.
 *
 * @throws EvidenceError malformed-json where a line is not one, or runs and frames do not count up from zero
 */
export function readTranscript(bytes: Uint8Array, what: string): Json[][] {
  const runs: Json[][] = []
  for (const [index, line] of linesOf(bytes).entries()) {
    const { run, frame, receive } = transcriptLine(parseStrictJson(line, `${what} line ${index + 1}`), what, index)
    if (run === runs.length && frame === 0) runs.push([])
    const messages = runs[run]
    if (run !== runs.length - 1 || messages?.length !== frame) throw misplaced(what, index)
    messages.push(receive)
  }
  return runs
}

function* splitLines(bytes: Uint8Array): Generator<Uint8Array> {
  let start = 0
  while (start < bytes.length) {
    const end = bytes.indexOf(0x0a, start)
    yield bytes.subarray(start, end === -1 ? bytes.length : end)
    start = end === -1 ? bytes.length : end + 1
  }
}

const linesOf = (bytes: Uint8Array) => [...splitLines(bytes)]

const misplaced = (what: string, index: number) =>
  new EvidenceError("malformed-json", `${what} line ${index + 1}: runs and frames must count up from zero`)

function transcriptLine(value: unknown, what: string, index: number): TranscriptLine {
  const names = isJsonObject(value) ? Object.keys(value).sort().join() : ""
  if (names !== "frame,receive,run,send")
    throw new EvidenceError("malformed-json", `${what} line ${index + 1}: expected run, frame, send and receive`)
  return value as unknown as TranscriptLine
}
