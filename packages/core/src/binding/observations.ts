import type { AuthenticatedBundle } from "../authenticate.js"
import type { UntrustedBundle } from "../bundle/reader.js"
import type { JudgeContext, StaticEvidence } from "../criteria/criterion.js"
import { catalogue, criteria } from "../criteria/index.js"
import { digestOfHex } from "../digest.js"
import { EvidenceError } from "../errors.js"
import { canonicalJson } from "../json.js"
import { judgeCriterion, type NotObserved, type Observations } from "../judge.js"
import { requirementOf } from "../policy.js"
import { broken } from "./binding.js"

export async function bindObservations(
  authenticated: AuthenticatedBundle,
  evidence: StaticEvidence,
): Promise<Observations> {
  const { predicate, bundle } = authenticated
  const named = new Map(predicate.criteria.map(row => [row.id, row]))
  if (named.size !== predicate.criteria.length) throw broken("the predicate lists a criterion twice")
  for (const [id, observation] of bundle.observations) {
    const row = named.get(id)
    const member = bundle.members.get(`observations/${id}.json`)
    if (
      member === undefined ||
      row?.observation !== digestOfHex(member.sha256) ||
      row.revision !== observation.revision
    )
      throw broken(`the predicate names another observation of ${id}`)
    checkDerivation(id, observation, evidence)
    checkArtifact(id, observation.facts, bundle)
    checkDeclaration(id, observation.facts, evidence)
  }
  const absent = predicate.criteria.find(row => row.observation !== null && !bundle.observations.has(row.id))
  if (absent !== undefined) throw broken(`the observation of ${absent.id} that the predicate names is not there`)
  const notObserved = new Map<string, NotObserved>(
    predicate.criteria
      .filter(row => row.observation === null)
      .map(row => [
        row.id,
        { skippedByContributor: row.skippedByContributor, because: row.notObserved ?? "no reason given" },
      ]),
  )
  return { observations: bundle.observations, notObserved }
}

// The submission says it itself, whatever the signer says of it.
function checkDeclaration(id: string, facts: unknown, { declaration }: StaticEvidence): void {
  const { declaredNondeterministic } = facts as { declaredNondeterministic?: unknown }
  if (declaredNondeterministic !== undefined && declaredNondeterministic !== declaration.declaresNondeterminism)
    throw new EvidenceError(
      "observation-disagrees",
      `the observation of ${id} says of nondeterminism what openenv.yaml does not`,
    )
}

// What an observation points at is the file that is there.
function checkArtifact(id: string, facts: unknown, bundle: UntrustedBundle): void {
  const { transcript } = facts as { transcript?: { path?: unknown; sha256?: unknown } | null }
  if (transcript == null) return
  const member = bundle.members.get(String(transcript.path))
  if (member?.role !== "artifact" || member.sha256 !== transcript.sha256)
    throw broken(`the observation of ${id} points at an artifact that is not there`)
}

// A static observation is a function of the bundle's own bytes: whoever states another result lies.
function checkDerivation(
  id: string,
  { revision, facts }: { revision: number; facts: unknown },
  evidence: StaticEvidence,
): void {
  const criterion = criteria.get(id)
  if (criterion?.inspect == null || revision !== criterion.revision) return
  if (canonicalJson(criterion.inspect(evidence)) !== canonicalJson(facts))
    throw new EvidenceError("observation-disagrees", `the observation of ${id} is not what the bundle's own bytes give`)
}

export const isOwnRevision = ({ id, revision }: { id: string; revision: number }): boolean =>
  (criteria.get(id)?.revision ?? 0) === revision

export function recomputePreviews(
  { predicate, bundle }: AuthenticatedBundle,
  { declaration }: StaticEvidence,
  observations: Observations,
  context: Omit<JudgeContext, "signature">,
): void {
  const rows = new Map(catalogue.map(row => [row.id, row]))
  for (const { id, revision, preview } of predicate.criteria) {
    const row = rows.get(id)
    // Another revision judges other facts: what it previewed cannot be repeated here, and it will be unmeasured.
    if (row === undefined || !isOwnRevision({ id, revision })) continue
    const requirement = requirementOf(bundle.policy, id, declaration)
    const { outcome } = judgeCriterion(row, observations, requirement, { ...context, signature: "to-be-signed" })
    if (outcome !== preview)
      throw new EvidenceError(
        "preview-disagrees",
        `${id}: the bundle previews ${preview}, its observation gives ${outcome}`,
      )
  }
}
