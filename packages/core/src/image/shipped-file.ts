import { clipText } from "../json-differences.js"
import { pathInRoot } from "./inventory.js"
import { Overlay } from "./overlay.js"
import type { ImageView, InventoryEntry } from "./view.js"

/** One file of one layer as observations state it. */
export interface ShippedFile {
  readonly path: string
  readonly layer: number
  readonly bytes: number
  readonly sha256: string | null
  /** Deleted or replaced by a later layer, yet shipped. */
  readonly hidden: boolean
  readonly instruction: string | null
}

const INSTRUCTION_CHARACTERS = 4096

/** A RUN may be of any length; the document's field is not. */
export const statedInstruction = (instruction: string | null): string | null =>
  instruction === null ? null : clipText(instruction, INSTRUCTION_CHARACTERS)

/** Bytes that are not UTF-8 cannot stand in JSON: U+FFFD does for people. */
export const statedPath = (path: string): string => path.toWellFormed()

/** States files of an image: those that an observation lists, so that only they are looked up in later layers. */
export function shippedFiles(image: ImageView): (layer: number, entry: InventoryEntry) => ShippedFile {
  const overlay = new Overlay(image.layers)
  return (layer, entry) => {
    const path = pathInRoot(entry)
    return {
      path: statedPath(path),
      layer,
      bytes: entry.size,
      sha256: entry.sha256 ?? null,
      hidden: overlay.hides(layer, path),
      instruction: statedInstruction(image.layers[layer]?.instruction ?? null),
    }
  }
}
