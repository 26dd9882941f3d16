import {
  type ContentCauses,
  causeOfContent,
  type DifferenceCause,
  type DifferingContent,
  differingContents,
  type ImageView,
  pathInRoot,
} from "@envidence/core"
import { inventoryImage, type OciLayout } from "@envidence/oci"

/** Larger files are compared by their digests alone; of one layer, so much is kept in memory at a time. */
const FILE_BYTES = 4_194_304
const LAYER_BYTES = 134_217_728

interface BuiltImage {
  readonly layout: OciLayout
  readonly view: ImageView
}

/**
 * Why the contents of files differ, layer by layer: reads again the layers that have such files, and of them these files,
 * as far as they are small.
 *
 * @throws EvidenceError as `readLayer` does
 */
export async function causesOfContents(
  first: BuiltImage,
  second: BuiltImage,
  signal: AbortSignal,
): Promise<ContentCauses> {
  const causes = new Map<string, DifferenceCause>()
  for (const [layer, differing] of byLayer(differingContents(first.view, second.view))) {
    const lefts = await readFiles(first, layer, new Set(differing.map(each => each.first)), signal)
    const rights = await readFiles(second, layer, new Set(differing.map(each => each.second)), signal)
    for (const at of differing) {
      const entry = first.view.layers[layer]?.entries[at.first]
      const [left, right] = [lefts.get(at.first) ?? null, rights.get(at.second) ?? null]
      if (entry !== undefined) causes.set(`${layer} ${at.first}`, causeOfContent(pathInRoot(entry), left, right))
    }
  }
  return (layer, entry) => causes.get(`${layer} ${entry}`)
}

function byLayer(differing: Iterable<DifferingContent>): Map<number, DifferingContent[]> {
  const layers = new Map<number, DifferingContent[]>()
  for (const each of differing) {
    const list = layers.get(each.layer) ?? []
    list.push(each)
    layers.set(each.layer, list)
  }
  return layers
}

async function readFiles(
  { layout, view }: BuiltImage,
  layer: number,
  entries: ReadonlySet<number>,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Uint8Array | null>> {
  const source = layout.layers[layer]
  if (source === undefined) return new Map()
  const paths = new Set(view.layers[layer]?.entries.filter((_, index) => entries.has(index)).map(pathInRoot))
  const { layers } = await inventoryImage(
    { ...layout, layers: [source] },
    {
      wants: path => (paths.has(path) ? FILE_BYTES : 0),
      limits: { wantedBytes: LAYER_BYTES },
      signal,
    },
  )
  return layers[0]?.wanted ?? new Map()
}
