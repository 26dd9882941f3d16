import { bytesToBase64, encodeUtf8 } from "../encoding.js"
import type { Json } from "../json.js"
import { canonicalJson } from "../json.js"
import { clipText, describeJson, jsonDifferences } from "../json-differences.js"
import type { ReproducibleBuildObservation } from "../schema/documents.generated.js"
import type { ImageLayer, ImageView, InventoryEntry } from "./view.js"

export type ImageDifference = ReproducibleBuildObservation["facts"]["differences"][number]

type Cause = ImageDifference["cause"]

/** An image and its config as parsed, since the view keeps only the parts of the config that criteria read. */
export interface ComparableImage {
  readonly view: ImageView
  readonly config: Json
}

export interface ImageDifferences {
  /** The first `limit` of them: the layers from the base up, then the config. */
  readonly listed: readonly ImageDifference[]
  readonly omitted: number
}

/** Why two builds of one source are not the same image, entry by entry. Empty where their digests agree. */
export function imageDifferences(first: ComparableImage, second: ComparableImage, limit = 200): ImageDifferences {
  const listed: ImageDifference[] = []
  let omitted = 0
  for (const difference of allDifferences(first, second)) {
    if (listed.length < limit) listed.push(difference)
    else omitted++
  }
  return { listed, omitted }
}

function* allDifferences(first: ComparableImage, second: ComparableImage): Generator<ImageDifference> {
  if (first.view.manifestDigest === second.view.manifestDigest) return
  yield* layerCount(first.view, second.view)
  const shared = Math.min(first.view.layers.length, second.view.layers.length)
  for (let index = 0; index < shared; index++) {
    const [left, right] = [first.view.layers[index], second.view.layers[index]]
    if (left && right) yield* layerDifferences(index, left, right)
  }
  yield* configDifferences(first.config, second.config)
}

function* layerCount(first: ImageView, second: ImageView): Generator<ImageDifference> {
  const [left, right] = [first.layers.length, second.layers.length]
  if (left !== right) yield row(null, "", "layer-count", String(left), String(right), null)
}

function* configDifferences(first: Json, second: Json): Generator<ImageDifference> {
  for (const { pointer, first: left, second: right } of jsonDifferences(first, second)) {
    // A layer's digest in the config follows from the layer, which is reported as itself.
    if (pointer.startsWith("/rootfs/")) continue
    yield row(null, pointer, "config", describeJson(left), describeJson(right), null)
  }
}

function* layerDifferences(index: number, first: ImageLayer, second: ImageLayer): Generator<ImageDifference> {
  const instruction = first.instruction ?? second.instruction
  const report = (path: string, cause: Cause, left: string, right: string) =>
    row(index, path, cause, left, right, instruction)
  if (first.diffId === second.diffId) {
    if (first.digest !== second.digest) yield report("", "content", `stored as ${first.digest}`, second.digest)
    return
  }
  let found = false
  for (const { path, cause, left, right } of entriesDifferences(first.entries, second.entries)) {
    found = true
    yield report(path, cause, left, right)
  }
  // Same entries, other bytes: the archives are framed differently (padding, header format).
  if (!found) yield report("", "content", first.diffId, second.diffId)
}

interface EntryDifference {
  readonly path: string
  readonly cause: Cause
  readonly left: string
  readonly right: string
}

function* entriesDifferences(
  first: readonly InventoryEntry[],
  second: readonly InventoryEntry[],
): Generator<EntryDifference> {
  const [lefts, rights] = [keyed(first), keyed(second)]
  let sameSet = true
  for (const [key, left] of lefts) {
    const right = rights.get(key)
    if (right) yield* entryDifferences(left, right)
    else {
      sameSet = false
      yield { path: pathOf(left), cause: "only-in-first", left: left.type, right: "(absent)" }
    }
  }
  for (const [key, right] of rights) {
    if (lefts.has(key)) continue
    sameSet = false
    yield { path: pathOf(right), cause: "only-in-second", left: "(absent)", right: right.type }
  }
  if (sameSet) yield* orderDifference(first, second)
}

/** An archive may hold a path twice: the second one is keyed apart, so that every entry is compared. */
function keyed(entries: readonly InventoryEntry[]): Map<string, InventoryEntry> {
  const map = new Map<string, InventoryEntry>()
  const seen = new Map<string, number>()
  for (const entry of entries) {
    const name = entry.pathBase64 ?? bytesToBase64(encodeUtf8(entry.path ?? ""))
    const count = seen.get(name) ?? 0
    seen.set(name, count + 1)
    map.set(`${name} ${count}`, entry)
  }
  return map
}

function* orderDifference(
  first: readonly InventoryEntry[],
  second: readonly InventoryEntry[],
): Generator<EntryDifference> {
  const at = first.findIndex((entry, index) => pathOf(entry) !== pathOf(second[index] ?? entry))
  const [left, right] = [first[at], second[at]]
  if (left && right) yield { path: pathOf(left), cause: "order", left: pathOf(left), right: pathOf(right) }
}

const ASPECTS: readonly (readonly [Cause, (entry: InventoryEntry) => string])[] = [
  ["type", entry => entry.type],
  ["mode", entry => entry.mode.toString(8).padStart(4, "0")],
  ["owner", entry => `${entry.uid}:${entry.gid} ${entry.uname ?? ""}:${entry.gname ?? ""}`],
  ["mtime", entry => String(entry.mtime)],
  ["link", entry => entry.linkTarget ?? (entry.linkTargetBase64 ? `base64 ${entry.linkTargetBase64}` : "")],
  ["xattrs", entry => canonicalJson(entry.xattrs ?? {})],
  ["content", entry => contentOf(entry)],
]

const contentOf = ({ size, sha256, device }: InventoryEntry) =>
  device ? `device ${device.major}:${device.minor}` : `${size} bytes, sha256 ${sha256 ?? "none"}`

function* entryDifferences(first: InventoryEntry, second: InventoryEntry): Generator<EntryDifference> {
  for (const [cause, read] of ASPECTS) {
    const [left, right] = [read(first), read(second)]
    if (left !== right) yield { path: pathOf(first), cause, left, right }
    // Two kinds of thing differ in everything else too.
    if (cause === "type" && left !== right) return
  }
}

const pathOf = (entry: InventoryEntry) => entry.path ?? `base64 ${entry.pathBase64 ?? ""}`

function row(
  layer: number | null,
  path: string,
  cause: Cause,
  first: string,
  second: string,
  instruction: string | null,
): ImageDifference {
  const clipped = instruction === null ? null : clipText(instruction, 4096)
  return {
    layer,
    path: clipText(path, 8192),
    cause,
    first: clipText(first, 256),
    second: clipText(second, 256),
    instruction: clipped,
  }
}
