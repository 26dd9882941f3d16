import { EvidenceError } from "../errors.js"
import { limits } from "../limits.js"
import type { DocumentName } from "../schema/validate.js"

/** The signed Sigstore bundle, first member of a signed evidence bundle. */
export const ATTESTATION = "attestation.sigstore.json"
/** The unsigned in-toto Statement, first member of an unsigned evidence bundle. */
export const STATEMENT = "statement.json"
export const MANIFEST = "manifest.json"

export interface MemberRole {
  readonly mediaType: string
  /** Which paths a member of this role may have. */
  readonly path: RegExp
  /** Whether every bundle has exactly one. */
  readonly required: boolean
  /** The schema of its JSON, where it is a document of ours other than an observation. */
  readonly document?: DocumentName
}

const one = (mediaType: string, path: RegExp, document?: DocumentName): MemberRole => ({
  mediaType,
  path,
  required: true,
  ...(document === undefined ? {} : { document }),
})
const many = (mediaType: string, path: RegExp): MemberRole => ({ mediaType, path, required: false })

/** What a bundle may hold (SPEC.md, "Members"). A role that is not here is hashed and reported as not understood. */
export const memberRoles = {
  submission: one("application/vnd.envidence.submission.v1+json", /^submission\.json$/, "SubmissionDocument"),
  policy: one("application/vnd.envidence.policy.v1+json", /^policy\.json$/, "PolicyDocument"),
  snapshot: one("application/vnd.envidence.snapshot.v1+json", /^snapshot\.json$/, "SnapshotDocument"),
  "image-manifest": one("application/vnd.oci.image.manifest.v1+json", /^image\/manifest\.json$/),
  "image-config": one("application/vnd.oci.image.config.v1+json", /^image\/config\.json$/),
  "image-index": many("application/vnd.oci.image.index.v1+json", /^image\/index\.json$/),
  "layer-inventory": many("application/vnd.envidence.layer-inventory.v1+jsonl", /^image\/layers\/\d{1,3}\.jsonl$/),
  sbom: many("application/vnd.cyclonedx+json", /^sbom\.cdx\.json$/),
  observation: many("application/vnd.envidence.observation.v1+json", /^observations\/[a-z0-9-]+\.json$/),
  artifact: many("application/octet-stream", /^artifacts\/[a-z0-9-]+\/[A-Za-z0-9][A-Za-z0-9._-]*$/),
  log: many("text/plain; charset=utf-8", /^logs\/[a-z0-9-]+\.log$/),
  results: many("application/vnd.ctrf+json", /^results\.ctrf\.json$/),
} as const satisfies Record<string, MemberRole>

export type RoleName = keyof typeof memberRoles

export const isKnownRole = (role: string): role is RoleName => Object.hasOwn(memberRoles, role)

/** Names of members: lower ASCII depth and length, no dot files, so that no unpacker can be led elsewhere. */
export const MEMBER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}$/

const roleLimits: Readonly<Partial<Record<string, number>>> = {
  policy: limits.ownDocumentBytes,
  snapshot: limits.ownDocumentBytes,
  "layer-inventory": limits.inventoryBytes,
  observation: limits.observationBytes,
} satisfies Partial<Record<RoleName, number>>

const NEWLINE = 0x0a

/** Counts what inventories hold before anything parses them. @throws EvidenceError limit-exceeded */
export function checkEntries(members: Iterable<{ readonly role: string; readonly bytes: Uint8Array }>): void {
  let entries = 0
  for (const { role, bytes } of members) {
    if (role !== ("layer-inventory" satisfies RoleName)) continue
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1))
      if (++entries > limits.imageEntries)
        throw new EvidenceError("limit-exceeded", `the image has more than ${limits.imageEntries} entries`)
  }
}

/** Bytes that a member of this role may have. */
export const memberLimit = (role: string): number =>
  (Object.hasOwn(roleLimits, role) ? roleLimits[role] : undefined) ?? limits.documentBytes
