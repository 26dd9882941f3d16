import { type DifferingContent, type ImageView, pathInRoot } from "@envidence/core"
import { inventoryImage, type OciLayout } from "@envidence/oci"

/** Larger files are compared by their digests alone; of all together, so much is kept in memory. */
const FILE_BYTES = 1_048_576
const TOTAL_BYTES = 67_108_864

/** Content by layer and index of its entry, as `ComparableImage` wants it. */
export type FileContents = (layer: number, entry: number) => Uint8Array | null | undefined

/** Reads again, of the layers named, the files named, as far as they are small. @throws EvidenceError as `readLayer` */
export async function readDifferingFiles(
  layout: OciLayout,
  view: ImageView,
  differing: readonly DifferingContent[],
  side: "first" | "second",
  signal: AbortSignal,
): Promise<FileContents> {
  const contents = new Map<number, ReadonlyMap<number, Uint8Array | null>>()
  let left = TOTAL_BYTES
  for (const source of layout.layers) {
    const entries = view.layers[source.index]?.entries ?? []
    const wanted = differing.filter(({ layer }) => layer === source.index).flatMap(each => entries[each[side]] ?? [])
    if (wanted.length === 0) continue
    const paths = new Set(wanted.map(pathInRoot))
    const { layers } = await inventoryImage(
      { ...layout, layers: [source] },
      { wants: path => (paths.has(path) ? FILE_BYTES : 0), limits: { wantedBytes: left }, signal },
    )
    const kept = layers[0]?.wanted ?? new Map<number, Uint8Array | null>()
    contents.set(source.index, kept)
    for (const bytes of kept.values()) left -= bytes?.length ?? 0
  }
  return (layer, entry) => contents.get(layer)?.get(entry)
}
