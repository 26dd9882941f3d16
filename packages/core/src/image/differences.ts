import { bytesToBase64, encodeUtf8 } from "../encoding.js"
import type { Json } from "../json.js"
import { canonicalJson } from "../json.js"
import { clipText, describeJson, isJsonArray, isJsonObject, jsonDifferences } from "../json-differences.js"
import type { ReproducibleBuildObservation } from "../schema/documents.generated.js"
import { causeOfContent, causeOfPresence, type DifferenceCause } from "./difference-cause.js"
import { pathInRoot } from "./inventory.js"
import type { ImageLayer, ImageView, InventoryEntry } from "./view.js"

type Facts = ReproducibleBuildObservation["facts"]

export type ImageDifference = Facts["differences"][number]

/** An image and its documents as parsed, since the view keeps only the parts of them that criteria read. */
export interface ComparableImage {
  readonly view: ImageView
  readonly config: Json
  readonly manifest: Json
}

/** What `causeOfContent` says of a file, where both contents were looked at: by layer, and index of the first's entry. */
export type ContentCauses = (layer: number, entry: number) => DifferenceCause | undefined

export interface DifferenceOptions {
  /** How many are listed; default: 200. */
  readonly limit?: number
  readonly causeOf?: ContentCauses
}

/** What `ReproducibleBuildObservation` says of two builds. */
export type ImageDifferences = Pick<Facts, "differences" | "omitted" | "causes" | "layers">

/**
 * Why two builds of one source are not the same image, entry by entry and counted by cause. Empty where their digests
 * agree. Some are listed, some of every cause; what follows from the others comes last.
 */
export function imageDifferences(
  first: ComparableImage,
  second: ComparableImage,
  { limit = 200, causeOf = () => undefined }: DifferenceOptions = {},
): ImageDifferences {
  const tally = new Tally(limit)
  if (first.view.manifestDigest !== second.view.manifestDigest)
    for (const difference of allDifferences(first, second, causeOf)) tally.add(difference)
  return { ...tally.finish(), layers: differingLayers(first.view, second.view, tally) }
}

/** A file whose content differs, by the indices of its entry: to be looked at, so that the cause can be told. */
export interface DifferingContent {
  readonly layer: number
  readonly first: number
  readonly second: number
}

/** Which files have to be read for `ContentCauses`. */
export function* differingContents(first: ImageView, second: ImageView): Generator<DifferingContent> {
  for (const [layer, left, right] of differingPairs(first, second))
    for (const [one, other] of pairs(left.entries, right.entries))
      if (one?.entry.sha256 && other?.entry.sha256 && one.entry.sha256 !== other.entry.sha256)
        yield { layer, first: one.index, second: other.index }
}

function* differingPairs(first: ImageView, second: ImageView): Generator<[number, ImageLayer, ImageLayer]> {
  for (const [index, left] of first.layers.entries()) {
    const right = second.layers[index]
    if (right !== undefined && left.diffId !== right.diffId) yield [index, left, right]
  }
}

function* allDifferences(
  first: ComparableImage,
  second: ComparableImage,
  causeOf: ContentCauses,
): Generator<ImageDifference> {
  const [left, right] = [first.view.layers.length, second.view.layers.length]
  if (left !== right) yield row(null, "", "layer-count", String(left), String(right), null)
  const base = Math.min(layersOfBase(first.config), layersOfBase(second.config))
  for (let index = 0; index < Math.min(left, right); index++)
    yield* layerDifferences(index, first.view, second.view, { base, causeOf })
  yield* configDifferences(first.config, second.config)
  yield* manifestDifferences(first.manifest, second.manifest)
}

/**
 * How many layers came with the base image: buildah notes at each step what it was FROM, which is an id of twelve
 * digits but at a base's own name. 0 where the history does not say.
 */
function layersOfBase(config: Json): number {
  const history = isJsonObject(config) && isJsonArray(config.history) ? config.history.filter(isJsonObject) : []
  const isStart = ({ comment }: { readonly [key: string]: Json }) =>
    typeof comment === "string" && /^FROM (?![0-9a-f]{12}$)/.test(comment)
  return history.slice(0, Math.max(0, history.findLastIndex(isStart))).filter(entry => entry.empty_layer !== true)
    .length
}

function* configDifferences(first: Json, second: Json): Generator<ImageDifference> {
  for (const { pointer, first: left, second: right } of jsonDifferences(first, second)) {
    // A layer's digest in the config follows from the layer, which is reported as itself.
    if (pointer.startsWith("/rootfs/")) continue
    yield row(null, pointer, causeInConfig(pointer, left, right), describeJson(left), describeJson(right), null)
  }
}

function causeInConfig(pointer: string, first: Json | undefined, second: Json | undefined): DifferenceCause {
  if (/^(\/history\/\d+)?\/created$/.test(pointer)) return "created-time"
  if (typeof first !== "string" || typeof second !== "string") return "config"
  // Steps are named by the id of what came before, and copies by a digest of what is copied.
  const masked = [first, second].map(text => text.replace(/\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b/g, "(id)"))
  return /^\/history\/\d+\/(comment|created_by)$/.test(pointer) && masked[0] === masked[1] ? "history-name" : "config"
}

// buildah means by it the image of the step before, not the base that the Dockerfile names.
const BASE_DIGEST = "/annotations/org.opencontainers.image.base.digest"

function* manifestDifferences(first: Json, second: Json): Generator<ImageDifference> {
  for (const { pointer, first: left, second: right } of jsonDifferences(first, second)) {
    // What these name is reported as itself.
    if (/^\/config\/(digest|size)$|^\/layers\/\d+(\/(digest|size))?$/.test(pointer)) continue
    const cause = pointer === BASE_DIGEST ? "history-name" : "manifest"
    yield row(null, pointer, cause, describeJson(left), describeJson(right), null)
  }
}

interface LayerContext {
  /** How many layers came with the base image. */
  readonly base: number
  readonly causeOf: ContentCauses
}

function* layerDifferences(
  index: number,
  first: ImageView,
  second: ImageView,
  { base, causeOf }: LayerContext,
): Generator<ImageDifference> {
  const [left, right] = [first.layers[index], second.layers[index]]
  if (left === undefined || right === undefined) return
  const instruction = left.instruction ?? right.instruction
  const report = (path: string, cause: DifferenceCause, one: string, other: string) =>
    row(index, path, cause, one, other, instruction)
  if (left.diffId === right.diffId) {
    if (left.digest !== right.digest) yield report("", "compression", `stored as ${left.digest}`, right.digest)
  } else if (index < base) yield report("", "base-image", left.diffId, right.diffId)
  else {
    let found = false
    for (const { path, cause, left: one, right: other } of entriesDifferences(left, right, entry =>
      causeOf(index, entry),
    )) {
      found = true
      yield report(path, cause, one, other)
    }
    // Same entries, other bytes: padding, or the format of the headers.
    if (!found) yield report("", "framing", left.diffId, right.diffId)
  }
}

interface EntryDifference {
  readonly path: string
  readonly cause: DifferenceCause
  readonly left: string
  readonly right: string
}

function* entriesDifferences(
  { entries: lefts }: ImageLayer,
  { entries: rights }: ImageLayer,
  causeOf: (entry: number) => DifferenceCause | undefined,
): Generator<EntryDifference> {
  let sameSet = true
  for (const [one, other] of pairs(lefts, rights)) {
    if (one && other) {
      yield* entryDifferences(one.entry, other.entry, causeOf(one.index))
      continue
    }
    sameSet = false
    if (one) yield presence(one.entry, "only-in-first", one.entry.type, "(absent)")
    if (other) yield presence(other.entry, "only-in-second", "(absent)", other.entry.type)
  }
  if (sameSet) yield* orderDifference(lefts, rights)
}

function presence(
  entry: InventoryEntry,
  where: "only-in-first" | "only-in-second",
  left: string,
  right: string,
): EntryDifference {
  return { path: pathOf(entry), cause: presenceCause(entry, where), left, right }
}

const presenceCause = (entry: InventoryEntry, where: "only-in-first" | "only-in-second") =>
  entry.content === "private-key" ? "private-key" : causeOfPresence(pathInRoot(entry), where)

interface Placed {
  readonly entry: InventoryEntry
  readonly index: number
}

/** Entries of both by path, those of the first one in its order, then what only the second one has. */
function* pairs(
  first: readonly InventoryEntry[],
  second: readonly InventoryEntry[],
): Generator<[Placed | undefined, Placed | undefined]> {
  const [lefts, rights] = [keyed(first), keyed(second)]
  for (const [key, left] of lefts) yield [left, rights.get(key)]
  for (const [key, right] of rights) if (!lefts.has(key)) yield [undefined, right]
}

/** An archive may hold a path twice: the second one is keyed apart, so that every entry is compared. */
function keyed(entries: readonly InventoryEntry[]): Map<string, Placed> {
  const map = new Map<string, Placed>()
  const seen = new Map<string, number>()
  for (const [index, entry] of entries.entries()) {
    const name = entry.pathBase64 ?? bytesToBase64(encodeUtf8(entry.path ?? ""))
    const count = seen.get(name) ?? 0
    seen.set(name, count + 1)
    map.set(`${name} ${count}`, { entry, index })
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

const ASPECTS: readonly (readonly [DifferenceCause, (entry: InventoryEntry) => string])[] = [
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

function* entryDifferences(
  first: InventoryEntry,
  second: InventoryEntry,
  looked: DifferenceCause | undefined,
): Generator<EntryDifference> {
  for (const [aspect, read] of ASPECTS) {
    const [left, right] = [read(first), read(second)]
    if (left === right) continue
    const cause = aspect === "content" ? contentCause(first, second, looked) : aspect
    yield { path: pathOf(first), cause, left, right }
    // Two kinds of thing differ in everything else too.
    if (aspect === "type") return
  }
}

function contentCause(first: InventoryEntry, second: InventoryEntry, looked: DifferenceCause | undefined) {
  if (first.type !== "file") return "content"
  if (first.content === "private-key" && second.content === "private-key") return "private-key"
  return looked ?? causeOfContent(pathInRoot(first), null, null)
}

const pathOf = (entry: InventoryEntry) => entry.path ?? `base64 ${entry.pathBase64 ?? ""}`

function row(
  layer: number | null,
  path: string,
  cause: DifferenceCause,
  first: string,
  second: string,
  instruction: string | null,
): ImageDifference {
  return {
    layer,
    path: clipText(path, 8192),
    cause,
    first: clipText(first, 256),
    second: clipText(second, 256),
    instruction: instruction === null ? null : clipText(instruction, 4096),
    consequence: false,
  }
}

/** What mere names and times of steps are, where anything else differs: gone with it. */
const FOLLOWING: ReadonlySet<DifferenceCause> = new Set(["created-time", "history-name"])

/** Listed at least of each cause, so that ten thousand of one do not hide the one of another. */
const LISTED_OF_EACH = 5

class Tally {
  readonly #limit: number
  readonly #kept = new Map<DifferenceCause, { at: number; difference: ImageDifference }[]>()
  readonly #counts = new Map<DifferenceCause, { count: number; layers: Set<number> }>()
  readonly ofLayer = new Map<number, number>()
  #total = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  add(difference: ImageDifference): void {
    const { cause, layer } = difference
    const kept = this.#kept.get(cause) ?? []
    this.#kept.set(cause, kept)
    if (kept.length < this.#limit) kept.push({ at: this.#total, difference })
    const counted = this.#counts.get(cause) ?? { count: 0, layers: new Set() }
    this.#counts.set(cause, counted)
    counted.count++
    this.#total++
    if (layer === null) return
    counted.layers.add(layer)
    this.ofLayer.set(layer, (this.ofLayer.get(layer) ?? 0) + 1)
  }

  finish(): Pick<ImageDifferences, "differences" | "omitted" | "causes"> {
    // Where nothing else differs, they are not consequences but all there is.
    const others = [...this.#counts.keys()].some(cause => !FOLLOWING.has(cause))
    const isConsequence = (cause: DifferenceCause) => others && FOLLOWING.has(cause)
    const causes = [...this.#counts].map(([cause, { count, layers }]) => ({
      cause,
      count,
      layers: [...layers].sort((a, b) => a - b),
      consequence: isConsequence(cause),
    }))
    causes.sort((a, b) => Number(a.consequence) - Number(b.consequence) || b.count - a.count)
    const chosen = this.#choose().map(difference => ({ ...difference, consequence: isConsequence(difference.cause) }))
    const differences = chosen.toSorted((a, b) => Number(a.consequence) - Number(b.consequence))
    return { differences, omitted: this.#total - differences.length, causes }
  }

  #choose(): ImageDifference[] {
    const kept = [...this.#kept.values()]
    const sure = kept.flatMap(list => list.slice(0, LISTED_OF_EACH)).slice(0, this.#limit)
    const rest = kept.flatMap(list => list.slice(LISTED_OF_EACH)).sort((a, b) => a.at - b.at)
    const chosen = [...sure, ...rest.slice(0, this.#limit - sure.length)]
    return chosen.sort((a, b) => a.at - b.at).map(({ difference }) => difference)
  }
}

function differingLayers(first: ImageView, second: ImageView, { ofLayer }: Tally): Facts["layers"] {
  return [...ofLayer].flatMap(([layer, differences]) => {
    const [left, right] = [first.layers[layer], second.layers[layer]]
    if (left === undefined || right === undefined) return []
    const instruction = left.instruction ?? right.instruction
    return {
      layer,
      instruction: instruction === null ? null : clipText(instruction, 4096),
      firstDigest: left.digest,
      secondDigest: right.digest,
      firstDiffId: left.diffId,
      secondDiffId: right.diffId,
      differences,
    }
  })
}
