import type { AuthenticatedBundle } from "../authenticate.js"
import { type BundleMember, membersOfRole } from "../bundle/reader.js"
import type { Digest } from "../digest.js"
import { EvidenceError } from "../errors.js"
import type { InventoryEntry } from "../image/view.js"
import type { ReportDocument } from "../schema/documents.generated.js"

export type Binding = ReportDocument["bindings"][number]

/**
 * What the evidence must be about. The caller chooses; there is no default. `imageConfig` names the image where its
 * source keeps no manifest: the config says what each layer holds, and not how it is stored.
 */
export type ExpectedSubject =
  | { readonly image?: Digest; readonly imageConfig?: Digest; readonly submission?: Digest }
  | { readonly anySubjectUnsafe: true }

/** What the verifier has read of the image and recomputed, to derive what the bundle only states. */
export interface OwnReading {
  /** The inventory of each layer, from bytes that hash to the image's digest. */
  readonly layers?: readonly (readonly InventoryEntry[])[]
  readonly sbom?: Uint8Array
  /** The index that the image was chosen from, where there was one. */
  readonly index?: Uint8Array
}

export const broken = (why: string) => new EvidenceError("inconsistent-bundle", why)

export const bytesOf = (
  authenticated: Pick<AuthenticatedBundle, "bundle">,
  role: Parameters<typeof membersOfRole>[1],
): BundleMember => membersOfRole(authenticated.bundle, role)[0] as BundleMember
