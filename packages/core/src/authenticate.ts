import { MANIFEST } from "./bundle/members.js"
import type { UntrustedBundle } from "./bundle/reader.js"
import { digestOfHex, sha256Hex } from "./digest.js"
import { EvidenceError } from "./errors.js"
import { parseStrictJson } from "./json.js"
import type { PredicateDocument, StatementDocument } from "./schema/documents.generated.js"
import { assertDocument, checkVersion } from "./schema/validate.js"
import { type Authenticator, PAYLOAD_TYPE, type Signer } from "./signer.js"

export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
export const PREDICATE_TYPE = "https://envidence.dev/evidence/v1"

declare const authenticated: unique symbol

/** A bundle of which every member is covered by a signature that was verified here. Only `authenticate` makes one. */
export interface AuthenticatedBundle {
  readonly [authenticated]: true
  readonly bundle: UntrustedBundle
  readonly statement: StatementDocument
  readonly predicate: PredicateDocument
  readonly signer: Signer
  /** RFC 3339, UTC; null where no trusted source gave a time. */
  readonly signedAt: string | null
}

/**
 * SPEC.md, step 2. The signature is checked first; only then are the signed bytes parsed, and no others.
 *
 * @throws EvidenceError with exit code 4 or 5
 */
export async function authenticate(
  bundle: UntrustedBundle,
  authenticator: Authenticator,
): Promise<AuthenticatedBundle> {
  if (bundle.attestation === null)
    throw new EvidenceError("no-attestation", "the bundle is not signed", {
      hint: "Ask the contributor to sign it: emit-evidence sign evidence-bundle.unsigned.tar.gz",
    })
  const { payloadType, payload, signer, signedAt } = await authenticator(bundle.attestation)
  if (payloadType !== PAYLOAD_TYPE)
    throw new EvidenceError("wrong-payload-type", `the signed payload is ${quote(payloadType)}, not ${PAYLOAD_TYPE}`)
  const { statement, predicate } = await readStatement(bundle, payload)
  const result: Omit<AuthenticatedBundle, typeof authenticated> = { bundle, statement, predicate, signer, signedAt }
  return result as AuthenticatedBundle
}

/**
 * Parses a statement and checks that it is for this bundle's members.
 *
 * @throws EvidenceError as `parseStatement` does; manifest-not-signed
 */
export async function readStatement(bundle: UntrustedBundle, payload: Uint8Array): Promise<ParsedStatement> {
  const parsed = parseStatement(payload)
  await checkManifest(bundle, parsed.statement, parsed.predicate)
  return parsed
}

export interface ParsedStatement {
  readonly statement: StatementDocument
  readonly predicate: PredicateDocument
}

/** @throws EvidenceError malformed-json, wrong-statement-type, wrong-predicate-type, unsupported-version, schema-violation */
export function parseStatement(payload: Uint8Array): ParsedStatement {
  const value = parseStrictJson(payload, "the statement") as Partial<Record<string, unknown>> | null
  if (value?._type !== STATEMENT_TYPE)
    throw new EvidenceError(
      "wrong-statement-type",
      `the statement's _type is ${quote(value?._type)}, not ${STATEMENT_TYPE}`,
    )
  if (value.predicateType !== PREDICATE_TYPE)
    throw new EvidenceError(
      "wrong-predicate-type",
      `the predicate type is ${quote(value.predicateType)}, not ${PREDICATE_TYPE}`,
    )
  const statement = assertDocument("StatementDocument", value, "the statement")
  checkVersion(statement.predicate, "the predicate")
  return { statement, predicate: assertDocument("PredicateDocument", statement.predicate, "the predicate") }
}

// manifest.json lists every other member, so binding it binds them all.
async function checkManifest(bundle: UntrustedBundle, statement: StatementDocument, predicate: PredicateDocument) {
  const hex = await sha256Hex(bundle.manifestBytes)
  const { digest, files } = predicate.manifest
  const named = subjectDigest(statement, MANIFEST)
  if (named === hex && digest === digestOfHex(hex) && files === bundle.manifest.members.length) return
  throw new EvidenceError("manifest-not-signed", `what was signed names another ${MANIFEST} than the bundle's`)
}

/** The hexadecimal sha256 of the one subject of that name; undefined where there is none, or more than one. */
export function subjectDigest(statement: StatementDocument, name: string): string | undefined {
  const [subject, ...others] = statement.subject.filter(candidate => candidate.name === name)
  return others.length === 0 ? subject?.digest.sha256 : undefined
}

const quote = (value: unknown): string => JSON.stringify(value)?.slice(0, 128) ?? "missing"
