import { EvidenceError, type InventoryEntry } from "@envidence/core"
import { type LayerInventory, type LayerLimits, layerLimits, readLayer, type WantedBytes } from "./layer.js"
import { type OpenedImage, openLayerBlob } from "./opened-image.js"
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
  /** Which files to keep: by default what the SBOM is made from, and then programs are looked into as well. */
  readonly wants?: WantedBytes
}

/**
 * Reads every layer of the image once. With this and the layout's own bytes, `buildImageView` and `buildSbom` need no
 * second look.
 *
 * @throws EvidenceError as `readLayer` does
 */
export async function inventoryImage(layout: OpenedImage, options: InventoryOptions = {}): Promise<ImageInventory> {
  const layers: LayerInventory[] = []
  // One budget for the whole image: what is kept of each layer stays until all are read.
  let wantedBytes = options.limits?.wantedBytes ?? layerLimits.wantedBytes
  for (const source of layout.layers) {
    if (options.signal?.aborted) throw new EvidenceError("interrupted", `interrupted before layer ${source.index}`)
    const blob = await openLayerBlob(layout, source)
    const layer = await readLayer(blob, source, {
      wants: options.wants ?? packageDatabaseBytes,
      programs: options.wants === undefined,
      limits: { ...options.limits, wantedBytes },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    wantedBytes -= keptBytes(layer)
    layers.push(layer)
    options.onProgress?.({ done: layers.length, layers: layout.layers.length })
  }
  return { layers }
}

function keptBytes({ wanted, embedded }: LayerInventory): number {
  const programs = [...embedded.values()].flatMap(({ goBuildInfo, cargoAuditable }) => [goBuildInfo, cargoAuditable])
  return [...wanted.values(), ...programs].reduce((sum, content) => sum + (content?.length ?? 0), 0)
}

/** The inventories alone, as `buildImageView` takes them. */
export const inventoriesOf = (inventory: ImageInventory): readonly (readonly InventoryEntry[])[] =>
  inventory.layers.map(layer => layer.entries)
