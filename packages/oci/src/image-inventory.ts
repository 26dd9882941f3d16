import { EvidenceError, type InventoryEntry } from "@envidence/core"
import { type LayerInventory, type LayerLimits, layerLimits, readLayer, type WantedBytes } from "./layer.js"
import { type OciLayout, openLayerBlob } from "./layout.js"
import { packageDatabaseBytes } from "./sbom/databases.js"

export interface ImageInventory {
  /** From the base up: each layer's entries in archive order, and the package metadata found on the way. */
  readonly layers: readonly LayerInventory[]
}

export interface InventoryProgress {
  /** Layers finished, of `layers`. */
  readonly done: number
  readonly layers: number
}

export interface InventoryOptions {
  readonly onProgress?: (progress: InventoryProgress) => void
  readonly signal?: AbortSignal
  readonly limits?: Partial<LayerLimits>
  /** Which files to keep: by default what the SBOM is made from. */
  readonly wants?: WantedBytes
}

/**
 * Reads every layer of the image once. With this and the layout's own bytes, `buildImageView` and `buildSbom` need no
 * second look.
 *
 * @throws EvidenceError as `readLayer` does
 */
export async function inventoryImage(layout: OciLayout, options: InventoryOptions = {}): Promise<ImageInventory> {
  const layers: LayerInventory[] = []
  // One budget for the whole image: what is kept of each layer stays until all are read.
  let wantedBytes = options.limits?.wantedBytes ?? layerLimits.wantedBytes
  for (const source of layout.layers) {
    if (options.signal?.aborted) throw new EvidenceError("interrupted", `interrupted before layer ${source.index}`)
    const blob = await openLayerBlob(layout, source)
    const layer = await readLayer(blob, source, {
      wants: options.wants ?? packageDatabaseBytes,
      limits: { ...options.limits, wantedBytes },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    wantedBytes -= keptBytes(layer)
    layers.push(layer)
    options.onProgress?.({ done: layers.length, layers: layout.layers.length })
  }
  return { layers }
}

const keptBytes = ({ wanted }: LayerInventory): number =>
  [...wanted.values()].reduce((sum, content) => sum + (content?.length ?? 0), 0)

/** The inventories alone, as `buildImageView` takes them. */
export const inventoriesOf = (inventory: ImageInventory): readonly (readonly InventoryEntry[])[] =>
  inventory.layers.map(layer => layer.entries)
