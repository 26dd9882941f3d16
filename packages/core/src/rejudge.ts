import type { BoundEvidence } from "./bind.js"
import type { CatalogueRow, Criterion, JudgeContext, JudgedPart, Judgement } from "./criteria/criterion.js"
import { catalogue, isJudged } from "./criteria/index.js"
import { judgeCriterion, type Observations } from "./judge.js"
import { type Requirement, requirementOf } from "./policy.js"
import { shorten } from "./report/escape.js"
import type { PolicyDocument, ReportDocument } from "./schema/documents.generated.js"
import type { Declaration } from "./submission/declaration.js"

export type Finding = ReportDocument["findings"][number]
export type Assurance = Finding["assurance"]

/** SPEC.md, step 4: every criterion of the catalogue under the verifier's policy, with what each verdict rests on. */
export function rejudge(evidence: BoundEvidence, policy: PolicyDocument): Finding[] {
  const context: JudgeContext = { ...evidence.context, signature: "verified" }
  return judgeAll(evidence, evidence.declaration, policy, context, row =>
    row.restsOn.every(source => evidence.derived.has(source)) ? "derived" : "attested",
  )
}

/** A preview for the contributor, by the same judges; what it rests on is what they have on their own disk. */
export function preview(
  observations: Observations,
  declaration: Declaration,
  policy: PolicyDocument,
  context: Omit<JudgeContext, "signature">,
): Finding[] {
  return judgeAll(observations, declaration, policy, { ...context, signature: "to-be-signed" }, row =>
    row.inspect === null ? "attested" : "derived",
  )
}

function judgeAll(
  observations: Observations,
  declaration: Declaration,
  policy: PolicyDocument,
  context: JudgeContext,
  assuranceOf: (row: Criterion) => Assurance,
): Finding[] {
  return catalogue.map(row => {
    const requirement = requirementOf(policy, row.id, declaration)
    const judgement = judgeCriterion(row, observations, requirement, context)
    const missing = judgement.outcome === "unmeasured" || !isJudged(row)
    const skipped = observations.notObserved.get(row.id)?.skippedByContributor ?? false
    return toFinding(row, requirement, judgement, missing ? "missing" : assuranceOf(row), skipped)
  })
}

function toFinding(
  row: Criterion | CatalogueRow,
  requirement: Requirement,
  judgement: Judgement,
  assurance: Assurance,
  skippedByContributor: boolean,
): Finding {
  return {
    id: row.id,
    revision: isJudged(row) ? row.revision : 0,
    required: requirement.required,
    requiredBecause: requirement.because,
    outcome: judgement.outcome,
    assurance,
    skippedByContributor,
    because: shorten(judgement.because, TEXT_CHARACTERS),
    remedy: shorten(judgement.remedy, TEXT_CHARACTERS),
    observed: judgement.observed,
    threshold: requirement.thresholds,
    parts: judgement.parts.map(part => toPart(part, assurance)),
    upstream: [...row.upstream],
  }
}

// Names, paths and instructions are of any length; the report's fields are not (schemas/report.json).
const TEXT_CHARACTERS = 8192
const ID_CHARACTERS = 128

const toPart = (
  { id, outcome, because, remedy, where }: JudgedPart,
  assurance: Assurance,
): Finding["parts"][number] => ({
  id: shorten(id, ID_CHARACTERS),
  outcome,
  assurance,
  because: shorten(because, TEXT_CHARACTERS),
  remedy: shorten(remedy, TEXT_CHARACTERS),
  where,
})

/** Fails closed: what is required and did not pass rejects, whatever the reason. */
export const isAccepted = (findings: readonly Finding[]): boolean =>
  findings.every(finding => !finding.required || finding.outcome === "pass")
