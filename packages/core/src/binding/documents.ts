import type { AuthenticatedBundle } from "../authenticate.js"
import { membersOfRole } from "../bundle/reader.js"
import type { StaticEvidence } from "../criteria/criterion.js"
import { digestOfHex, sha256Digest, sha256Hex } from "../digest.js"
import { encodeUtf8 } from "../encoding.js"
import { EvidenceError } from "../errors.js"
import { canonicalJsonBytes, parseStrictJson } from "../json.js"
import { policyDigest, thresholdViolation } from "../policy.js"
import { declarationFiles, readDeclaration } from "../submission/declaration.js"
import { chooseDockerfile } from "../submission/dockerfile.js"
import { broken, bytesOf, type OwnReading } from "./binding.js"
import { isOwnRevision } from "./observations.js"

export async function bindTexts({ bundle }: AuthenticatedBundle): Promise<void> {
  const rows = new Map(bundle.submission.files.map(row => [row.path, row]))
  if (rows.size !== bundle.submission.files.length) throw broken("submission.json lists a path twice")
  for (const { path, text } of bundle.submission.texts) {
    const row = rows.get(path)
    if (row === undefined || row.kind === "symlink" || row.sha256 !== (await sha256Hex(encodeUtf8(text))))
      throw broken(`the text of ${path} in submission.json is not the file that it lists`)
  }
  // Without its text, what a declaration asks for would count as not asked.
  const told = new Set(bundle.submission.texts.map(({ path }) => path))
  const untold = declarationFiles.find(path => rows.has(path) && !told.has(path))
  if (untold !== undefined) throw broken(`submission.json lists ${untold} and leaves out its text`)
  const dockerfile = chooseDockerfile(readDeclaration(bundle.submission.texts), path => told.has(path))
  if (dockerfile === undefined || bundle.submission.dockerfile !== dockerfile)
    throw broken("submission.json names another Dockerfile than its openenv.yaml, or leaves out its text")
}

export async function bindSnapshot(authenticated: AuthenticatedBundle): Promise<void> {
  const { predicate, bundle } = authenticated
  const { sha256 } = bytesOf(authenticated, "snapshot")
  if (predicate.snapshot.digest !== digestOfHex(sha256)) throw broken("the predicate names another snapshot.json")
  const identifying = bundle.snapshot.fields
    .filter(field => field.form === "hmac-sha256")
    .map(({ name, value }) => ({ name, value }))
  const fingerprint = await sha256Digest(canonicalJsonBytes(identifying))
  if (fingerprint !== bundle.snapshot.fingerprint || fingerprint !== predicate.snapshot.fingerprint)
    throw broken("the host's fingerprint is not that of the snapshot's identifying fields")
}

export async function bindPolicy({ predicate, bundle }: AuthenticatedBundle): Promise<void> {
  const { id, version, digest } = predicate.policy
  const { policy } = bundle
  if (policy.id !== id || policy.version !== version || (await policyDigest(policy)) !== digest)
    throw broken("the predicate names another policy than policy.json")
  // Another revision may have other thresholds; nothing is judged by them here.
  const ours = new Set(predicate.criteria.filter(isOwnRevision).map(row => row.id))
  const loose = thresholdViolation(policy, id => ours.has(id))
  if (loose !== undefined) throw broken(`policy.json: ${loose}`)
}

export async function bindSbom(authenticated: AuthenticatedBundle, own: OwnReading): Promise<StaticEvidence["sbom"]> {
  const [member, ...others] = membersOfRole(authenticated.bundle, "sbom")
  const digest = member === undefined ? null : digestOfHex(member.sha256)
  if (others.length > 0 || (authenticated.predicate.sbom?.digest ?? null) !== digest)
    throw broken("the predicate names another SBOM than sbom.cdx.json")
  if (member === undefined || digest === null) return null
  const sbom = { bytes: member.bytes, digest }
  if (
    own.sbom !== undefined &&
    !(await isSbomDerived(sbom, own)) &&
    generatorOf(own.sbom) === generatorOf(member.bytes)
  )
    throw new EvidenceError("observation-disagrees", "sbom.cdx.json is not what the image's layers give")
  return sbom
}

/** Whether the verifier made the same SBOM from the layers. One of another generator stays the signer's word. */
export const isSbomDerived = async (sbom: StaticEvidence["sbom"], own: OwnReading): Promise<boolean> =>
  sbom !== null && own.sbom !== undefined && (await sha256Digest(own.sbom)) === sbom.digest

interface Tool {
  readonly name?: unknown
  readonly version?: unknown
}

// What writes an SBOM changes from release to release, and an older bundle is no lie.
function generatorOf(sbom: Uint8Array): string {
  const document = parseStrictJson(sbom, "sbom.cdx.json") as { metadata?: { tools?: { components?: Tool[] } } } | null
  const tools = document?.metadata?.tools?.components
  const [tool] = Array.isArray(tools) ? tools : []
  return JSON.stringify([tool?.name ?? null, tool?.version ?? null])
}
