import { pathInRoot } from "./inventory.js"
import type { ImageLayer } from "./view.js"

const WHITEOUT = ".wh."
const OPAQUE = ".wh..wh..opq"

/** Whether the entry deletes rather than adds (image-spec 1.1, "Whiteouts"). */
export const isWhiteout = (path: string): boolean => baseName(path).startsWith(WHITEOUT)

export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1)

export const dirName = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")))

/** Answers whether a later layer deletes or replaces a path (of `pathInRoot`), which is shipped all the same. */
export class Overlay {
  /** The last layer that deletes the path, empties the directory, or writes something else than a directory there. */
  readonly #deleted = new Map<string, number>()
  readonly #emptied = new Map<string, number>()
  readonly #written = new Map<string, number>()

  constructor(layers: readonly ImageLayer[]) {
    for (const [index, layer] of layers.entries()) this.#add(layer, index)
  }

  hides(layer: number, path: string): boolean {
    const later = (last: ReadonlyMap<string, number>, of: string) => (last.get(of) ?? -1) > layer
    if (later(this.#written, path) || later(this.#deleted, path)) return true
    for (let parent = path; parent !== ""; ) {
      parent = dirName(parent)
      if (later(this.#emptied, parent)) return true
      if (parent !== "" && (later(this.#deleted, parent) || later(this.#written, parent))) return true
    }
    return false
  }

  #add({ entries }: ImageLayer, index: number): void {
    for (const entry of entries) {
      const path = pathInRoot(entry)
      const name = baseName(path)
      if (name === OPAQUE) this.#emptied.set(dirName(path), index)
      else if (name.startsWith(WHITEOUT)) this.#deleted.set(siblingOf(path, name.slice(WHITEOUT.length)), index)
      else if (entry.type !== "directory") this.#written.set(path, index)
    }
  }
}

function siblingOf(path: string, name: string): string {
  const parent = dirName(path)
  return parent === "" ? name : `${parent}/${name}`
}
