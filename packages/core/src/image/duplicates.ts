import { pathInRoot } from "./inventory.js"
import type { ImageLayer, InventoryEntry } from "./view.js"

/** One file of one layer that has bytes. */
export interface Copy {
  readonly layer: number
  readonly path: string
  readonly entry: InventoryEntry
}

/** Content that the layers hold more than once: what a puller downloads and keeps again. */
export interface RepeatedContent {
  readonly sha256: string
  /** Of one copy. */
  readonly bytes: number
  /** In the order of the layers and their archives. */
  readonly copies: readonly Copy[]
  readonly paths: number
  /** Copies at further paths: `(paths - 1) * bytes`. */
  readonly duplicateBytes: number
  /** Copies that a later layer writes at the same path, with other metadata at most: the rest of the copies. */
  readonly rewrittenBytes: number
}

/** All repeated content, the largest file first. Hard links are no copies; files without bytes cost nothing. */
export function repeatedContent(layers: readonly ImageLayer[]): RepeatedContent[] {
  const contents = new Map<string, Copy[]>()
  for (const [layer, { entries }] of layers.entries())
    for (const entry of entries) {
      if (entry.sha256 === undefined || entry.size === 0) continue
      const copies = contents.get(entry.sha256)
      if (copies === undefined) contents.set(entry.sha256, [{ layer, path: pathInRoot(entry), entry }])
      else copies.push({ layer, path: pathInRoot(entry), entry })
    }
  const repeated = [...contents].filter(([, copies]) => copies.length > 1)
  return repeated.map(([sha256, copies]) => describe(sha256, copies)).sort(byBytes)
}

function describe(sha256: string, copies: readonly Copy[]): RepeatedContent {
  const bytes = copies[0]?.entry.size ?? 0
  const paths = new Set(copies.map(copy => copy.path)).size
  const duplicateBytes = (paths - 1) * bytes
  return { sha256, bytes, copies, paths, duplicateBytes, rewrittenBytes: (copies.length - paths) * bytes }
}

const byBytes = (a: RepeatedContent, b: RepeatedContent) => b.bytes - a.bytes || (a.sha256 < b.sha256 ? -1 : 1)

/** What differs between the first copy and a later one at its path; none where only the archive says it again. */
export function metadataChanges(
  from: InventoryEntry,
  to: InventoryEntry,
): ("mode" | "owner" | "time" | "attributes")[] {
  return [
    ...(from.mode === to.mode ? [] : (["mode"] as const)),
    ...(from.uid === to.uid && from.gid === to.gid ? [] : (["owner"] as const)),
    ...(from.mtime === to.mtime ? [] : (["time"] as const)),
    ...(sameAttributes(from, to) ? [] : (["attributes"] as const)),
  ]
}

const sameAttributes = ({ xattrs: a = {} }: InventoryEntry, { xattrs: b = {} }: InventoryEntry): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([name, value]) => b[name] === value)
