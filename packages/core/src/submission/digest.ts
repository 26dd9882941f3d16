import { type Digest, sha256Digest } from "../digest.js"
import { canonicalJsonBytes } from "../json.js"
import type { SubmissionDocument } from "../schema/documents.generated.js"

/** One file of a build context: what the submission's digest covers of it. */
export type SubmissionFile = SubmissionDocument["files"][number]

/**
 * The submission's digest: sha256 of the canonical JSON (RFC 8785) of its rows, which the caller gives sorted bytewise by
 * path. Injective, since JSON marks where a path ends and the content's digest begins.
 */
export const submissionDigest = (rows: readonly SubmissionFile[]): Promise<Digest> =>
  sha256Digest(canonicalJsonBytes(rows.map(({ path, kind, size, sha256 }) => ({ path, kind, size, sha256 }))))
