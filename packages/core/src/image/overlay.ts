import { pathInRoot } from "./inventory.js"
import type { ImageLayer } from "./view.js"

const WHITEOUT = ".wh."
const OPAQUE = ".wh..wh..opq"

/** Whether the entry deletes rather than adds (image-spec 1.1, "Whiteouts"). */
export const isWhiteout = (path: string): boolean => baseName(path).startsWith(WHITEOUT)

export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1)

export const dirName = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")))

interface LayerEffects {
  readonly deleted: ReadonlySet<string>
  readonly opaque: ReadonlySet<string>
  readonly written: ReadonlySet<string>
}

/** Answers whether a later layer deletes or replaces a path (of `pathInRoot`), which is shipped all the same. */
export class Overlay {
  readonly #effects: readonly LayerEffects[]

  constructor(layers: readonly ImageLayer[]) {
    this.#effects = layers.map(effectsOf)
  }

  hides(layer: number, path: string): boolean {
    return this.#effects.slice(layer + 1).some(effects => effects.written.has(path) || isDeleted(effects, path))
  }
}

function isDeleted({ deleted, opaque }: LayerEffects, path: string): boolean {
  if (deleted.has(path)) return true
  for (let parent = path; parent !== ""; ) {
    parent = dirName(parent)
    if (opaque.has(parent) || (parent !== "" && deleted.has(parent))) return true
  }
  return false
}

function effectsOf(layer: ImageLayer): LayerEffects {
  const deleted = new Set<string>()
  const opaque = new Set<string>()
  const written = new Set<string>()
  for (const entry of layer.entries) {
    const path = pathInRoot(entry)
    const name = baseName(path)
    const parent = dirName(path)
    if (name === OPAQUE) opaque.add(parent)
    else if (name.startsWith(WHITEOUT)) deleted.add(parent === "" ? name.slice(4) : `${parent}/${name.slice(4)}`)
    else if (entry.type !== "directory") written.add(path)
  }
  return { deleted, opaque, written }
}
