import type { Digest } from "../digest.js"
import type { InventoryEntryDocument } from "../schema/documents.generated.js"

/** One entry of a layer's tar archive, in archive order. `path` or `pathBase64` is there, never both. */
export type InventoryEntry = InventoryEntryDocument

/** What the manifest and the config say of one layer, and what was found in it. */
export interface ImageLayer {
  /** Digest of the stored (compressed) blob. */
  readonly digest: Digest
  /** Digest of the uncompressed tar archive: `rootfs.diff_ids`. */
  readonly diffId: Digest
  readonly mediaType: string
  /** Bytes of the stored blob. */
  readonly size: number
  /** The Dockerfile instruction that made it, from the config's history; null where the history does not say. */
  readonly instruction: string | null
  readonly entries: readonly InventoryEntry[]
}

/** An image as criteria see it: pure data over the manifest, the config and the inventories of its layers. */
export interface ImageView {
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  /** `os/architecture[/variant]` of the config. */
  readonly platform: string
  readonly config: {
    readonly user: string
    readonly labels: Readonly<Record<string, string>>
    readonly env: readonly string[]
    readonly entrypoint: readonly string[]
    readonly cmd: readonly string[]
    readonly workingDir: string
  }
  /** From the base up. */
  readonly layers: readonly ImageLayer[]
}
