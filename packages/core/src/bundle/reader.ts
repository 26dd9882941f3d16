import type { Compression } from "../compression.js"
import { sha256Hex } from "../digest.js"
import { EvidenceError } from "../errors.js"
import { limits } from "../limits.js"
import type {
  Documents,
  ManifestDocument,
  PolicyDocument,
  SnapshotDocument,
  SubmissionDocument,
} from "../schema/documents.generated.js"
import { parseDocument } from "../schema/validate.js"
import { type ArchiveMember, unpackArchive } from "./archive.js"
import {
  ATTESTATION,
  checkEntries,
  isKnownRole,
  MANIFEST,
  memberLimit,
  memberRoles,
  type RoleName,
  STATEMENT,
} from "./members.js"
import { type Observation, parseObservation } from "./observation.js"

export interface BundleMember extends ArchiveMember {
  readonly sha256: string
  readonly mediaType: string
  readonly role: string
}

declare const untrusted: unique symbol

/** A bundle whose members agree with its own manifest.json. Nothing says yet who made it. */
export interface UntrustedBundle {
  readonly [untrusted]: true
  /** Of the packed file. */
  readonly sha256: string
  /** Bytes of the packed file. */
  readonly size: number
  /** attestation.sigstore.json, or null in an unsigned bundle. */
  readonly attestation: Uint8Array | null
  /** statement.json of an unsigned bundle, else null. */
  readonly statement: Uint8Array | null
  readonly manifest: ManifestDocument
  readonly manifestBytes: Uint8Array
  readonly members: ReadonlyMap<string, BundleMember>
  readonly submission: SubmissionDocument
  readonly policy: PolicyDocument
  readonly snapshot: SnapshotDocument
  readonly observations: ReadonlyMap<string, Observation>
  /** Paths of members whose role this version does not know: hashed, never used. */
  readonly notUnderstood: readonly string[]
}

/**
 * Reads a bundle strictly (SPEC.md, step 1): archive, manifest, every member's size and SHA-256, and the schema of each
 * document.
 *
 * @throws EvidenceError with exit code 4
 */
export async function readBundle(packed: Uint8Array, compression: Compression): Promise<UntrustedBundle> {
  const [head, second, ...rest] = await unpackArchive(packed, compression)
  if (head === undefined || (head.path !== ATTESTATION && head.path !== STATEMENT))
    throw new EvidenceError("no-attestation", `the bundle does not begin with ${ATTESTATION}`)
  checkBytes(head.bytes.length, limits.attestationBytes, head.path)
  if (second?.path !== MANIFEST) throw new EvidenceError("missing-member", `${MANIFEST} is not the second member`)
  checkBytes(second.bytes.length, limits.ownDocumentBytes, MANIFEST)
  const manifest = parseDocument("ManifestDocument", second.bytes, MANIFEST)
  checkCritical(manifest)
  const members = await matchMembers(manifest, rest)
  checkRoles(members)
  checkEntries(members.values())
  const document = <Name extends keyof Documents>(name: Name, role: RoleName) => {
    const member = [...members.values()].find(candidate => candidate.role === role) as BundleMember
    return parseDocument(name, member.bytes, member.path)
  }
  const bundle: Omit<UntrustedBundle, typeof untrusted> = {
    sha256: await sha256Hex(packed),
    size: packed.length,
    attestation: head.path === ATTESTATION ? head.bytes : null,
    statement: head.path === STATEMENT ? head.bytes : null,
    manifest,
    manifestBytes: second.bytes,
    members,
    submission: document("SubmissionDocument", "submission"),
    policy: document("PolicyDocument", "policy"),
    snapshot: document("SnapshotDocument", "snapshot"),
    observations: readObservations(members),
    notUnderstood: [...members.values()].filter(member => !isKnownRole(member.role)).map(member => member.path),
  }
  return bundle as UntrustedBundle
}

/** Members of one role, in the manifest's order. */
export const membersOfRole = (bundle: UntrustedBundle, role: RoleName): BundleMember[] =>
  [...bundle.members.values()].filter(member => member.role === role)

function checkCritical(manifest: ManifestDocument): void {
  const unknown = manifest.critical.find(role => !isKnownRole(role))
  if (unknown === undefined) return
  throw new EvidenceError("unknown-critical-role", `${MANIFEST} demands that role ${unknown} be understood`, {
    hint: "Use a newer release of the tool.",
  })
}

async function matchMembers(
  manifest: ManifestDocument,
  found: readonly ArchiveMember[],
): Promise<Map<string, BundleMember>> {
  const listed = new Map(manifest.members.map(row => [row.path, row]))
  if (listed.size !== manifest.members.length)
    throw new EvidenceError("unexpected-member", `${MANIFEST} lists a path twice`)
  for (const own of [MANIFEST, ATTESTATION, STATEMENT])
    if (listed.has(own)) throw new EvidenceError("unexpected-member", `${MANIFEST} lists ${own}`)
  const members = new Map<string, BundleMember>()
  for (const member of found) {
    const row = listed.get(member.path)
    if (row === undefined) throw new EvidenceError("unexpected-member", `${MANIFEST} does not list ${member.path}`)
    const sha256 = await sha256Hex(checkSize(member, row.role).bytes)
    if (row.size !== member.bytes.length || row.sha256 !== sha256)
      throw new EvidenceError("digest-mismatch", `${member.path} is not the file that ${MANIFEST} lists`)
    members.set(member.path, { ...member, sha256, mediaType: row.mediaType, role: row.role })
  }
  const missing = manifest.members.find(row => !members.has(row.path))
  if (missing !== undefined) throw new EvidenceError("missing-member", `${missing.path} is listed and not there`)
  checkOrder(manifest, found)
  return members
}

// One order only, so that one content has one archive.
function checkOrder(manifest: ManifestDocument, found: readonly ArchiveMember[]): void {
  const wrong = manifest.members.find(
    (row, i) => found[i]?.path !== row.path || (i > 0 && row.path <= (manifest.members[i - 1]?.path ?? "")),
  )
  if (wrong !== undefined) throw new EvidenceError("malformed-archive", `member ${wrong.path} is out of order`)
}

function checkSize(member: ArchiveMember, role: string): ArchiveMember {
  checkBytes(member.bytes.length, memberLimit(role), member.path)
  return member
}

function checkBytes(found: number, limit: number, what: string): void {
  if (found > limit) throw new EvidenceError("limit-exceeded", `${what} is larger than ${limit} bytes`)
}

function checkRoles(members: ReadonlyMap<string, BundleMember>): void {
  const count = new Map<string, number>()
  for (const { path, role } of members.values()) {
    count.set(role, (count.get(role) ?? 0) + 1)
    if (isKnownRole(role) && !memberRoles[role].path.test(path))
      throw new EvidenceError("unexpected-member", `${path} cannot have the role ${role}`)
  }
  for (const [role, { required }] of Object.entries(memberRoles))
    if (required && count.get(role) !== 1) throw new EvidenceError("missing-member", `no member has the role ${role}`)
}

function readObservations(members: ReadonlyMap<string, BundleMember>): Map<string, Observation> {
  const found = [...members.values()].filter(({ role }) => role === "observation")
  const size = found.reduce((sum, { bytes }) => sum + bytes.length, 0)
  checkBytes(size, limits.observationsBytes, "what was observed")
  const observations = found.map(({ bytes, path }) => parseObservation(bytes, path))
  return new Map(observations.map(observation => [observation.criterion, observation]))
}
