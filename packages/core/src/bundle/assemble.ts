import { PREDICATE_TYPE, STATEMENT_TYPE } from "../authenticate.js"
import type { Compression } from "../compression.js"
import { type Digest, digestOfHex, hexOfDigest, sha256Hex } from "../digest.js"
import { compareBytewise } from "../encoding.js"
import { EvidenceError } from "../errors.js"
import { canonicalJsonBytes } from "../json.js"
import type { ManifestDocument, PredicateDocument, StatementDocument } from "../schema/documents.generated.js"
import { assertDocument } from "../schema/validate.js"
import { type ArchiveMember, packArchive } from "./archive.js"
import { ATTESTATION, checkEntries, MANIFEST, memberLimit, memberRoles, type RoleName, STATEMENT } from "./members.js"

export interface NewMember extends ArchiveMember {
  readonly role: RoleName
  /** Where the role's usual media type is not the right one. */
  readonly mediaType?: string
}

/** Everything of a bundle but its first member. */
export interface UnsignedState {
  /** manifest.json, then the members that it lists, in archive order. */
  readonly members: readonly ArchiveMember[]
  /** The exact bytes to sign as DSSE payload. */
  readonly statement: Uint8Array
}

/** Facts of the predicate that assembling does not compute. */
export type PredicateFacts = Omit<KnownFields<PredicateDocument>, "schemaVersion" | "manifest">

// The schema lets later minor versions add fields, which shows as an index signature.
type KnownFields<T> = { [K in keyof T as string extends K ? never : K]: T[K] }

/**
 * Lists the members in manifest.json and names it, the image and the submission in the statement.
 *
 * @throws EvidenceError limit-exceeded where a reader would refuse a member for its size; schema-violation
 */
export async function assembleBundle(
  members: readonly NewMember[],
  facts: PredicateFacts,
  submission: Digest,
): Promise<UnsignedState> {
  const large = members.find(({ bytes, role }) => bytes.length > memberLimit(role))
  if (large !== undefined)
    throw new EvidenceError("limit-exceeded", `${large.path} is larger than ${memberLimit(large.role)} bytes`)
  checkEntries(members)
  const sorted = members.toSorted((a, b) => compareBytewise(a.path, b.path))
  const rows = await Promise.all(
    sorted.map(async ({ path, bytes, role, mediaType }) => ({
      path,
      size: bytes.length,
      sha256: await sha256Hex(bytes),
      mediaType: mediaType ?? memberRoles[role].mediaType,
      role,
    })),
  )
  const manifest: ManifestDocument = { schemaVersion: "1.0", critical: [], members: rows }
  const manifestBytes = canonicalJsonBytes(assertDocument("ManifestDocument", manifest, MANIFEST))
  const manifestHex = await sha256Hex(manifestBytes)
  const predicate: PredicateDocument = {
    ...facts,
    schemaVersion: "1.0",
    manifest: { digest: digestOfHex(manifestHex), files: rows.length },
  } as PredicateDocument
  assertDocument("PredicateDocument", predicate, "the predicate")
  const subject = (name: string, sha256: string) => ({ name, digest: { sha256 } })
  const statement: StatementDocument = {
    _type: STATEMENT_TYPE,
    subject: [
      subject("image", hexOfDigest(facts.image.digest as Digest)),
      subject("submission", hexOfDigest(submission)),
      subject(MANIFEST, manifestHex),
    ],
    predicateType: PREDICATE_TYPE,
    predicate: predicate as unknown as StatementDocument["predicate"],
  }
  return { members: [{ path: MANIFEST, bytes: manifestBytes }, ...sorted], statement: canonicalJsonBytes(statement) }
}

export const packUnsigned = (state: UnsignedState, compression: Compression): Promise<Uint8Array> =>
  packArchive([{ path: STATEMENT, bytes: state.statement }, ...state.members], compression)

export const packSigned = (
  state: UnsignedState,
  attestation: Uint8Array,
  compression: Compression,
): Promise<Uint8Array> => packArchive([{ path: ATTESTATION, bytes: attestation }, ...state.members], compression)
