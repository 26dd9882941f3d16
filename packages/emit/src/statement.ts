import {
  CATALOGUE_VERSION,
  canonicalJsonBytes,
  catalogue,
  catalogueDigest,
  type Digest,
  type Finding,
  isJudged,
  type NewMember,
  type PolicyDocument,
  type PredicateFacts,
  policyDigest,
  type SnapshotDocument,
} from "@envidence/core"
import type { EmitArguments } from "./arguments.js"
import { digestOf, type ObservedAll } from "./observe.js"
import type { Run } from "./run.js"

export interface StatementInput {
  readonly told: EmitArguments
  readonly run: Run
  readonly policy: PolicyDocument
  readonly snapshot: SnapshotDocument
  readonly observations: ObservedAll
  readonly previews: readonly Finding[]
  readonly toolVersion: string
  readonly startedAt: Date
  readonly finishedAt: Date
}

/** The bundle's members that are not the image's or a criterion's own. */
export function commonMembers({ run, policy, snapshot }: StatementInput): NewMember[] {
  return [
    { path: "submission.json", bytes: canonicalJsonBytes(run.submission.document), role: "submission" },
    { path: "policy.json", bytes: canonicalJsonBytes(policy), role: "policy" },
    { path: "snapshot.json", bytes: canonicalJsonBytes(snapshot), role: "snapshot" },
  ]
}

/** What the predicate says beside the manifest's digest, which assembling adds. */
export async function predicateFacts(input: StatementInput): Promise<PredicateFacts> {
  const { told, run, policy, snapshot, toolVersion, startedAt, finishedAt } = input
  const { layout, evidence } = run.read
  return {
    tool: { name: "emit-evidence", version: toolVersion },
    catalogue: { version: CATALOGUE_VERSION, digest: await catalogueDigest() },
    policy: { id: policy.id, version: policy.version, digest: await policyDigest(policy) },
    validatorImages: [],
    submission: { kind: run.submission.document.kind, digest: run.submission.digest },
    image: {
      digest: layout.manifestDigest,
      configDigest: layout.configDigest,
      platform: layout.platform,
      builtFromSubmission: run.image.build !== null,
      judgedPlatforms: [layout.platform],
      indexDigest: layout.index?.digest ?? null,
    },
    buildArgs: { ...told.buildArgs },
    snapshot: { digest: await digestOf(canonicalJsonBytes(snapshot)), fingerprint: snapshot.fingerprint as Digest },
    sbom: evidence.sbom === null ? null : { digest: evidence.sbom.digest, mediaType: "application/vnd.cyclonedx+json" },
    criteria: await describeCriteria(input),
    challenge: told.challenge,
    startedAt: startedAt.toISOString(),
    finishedAt: finishedAt.toISOString(),
    hardwareAttestation: null,
  }
}

async function describeCriteria({ observations, previews }: StatementInput): Promise<PredicateFacts["criteria"]> {
  const { observed, notObserved } = observations
  const rows = catalogue.map(async row => {
    const member = observed.get(row.id)?.members.find(candidate => candidate.role === "observation")
    const reason = notObserved.get(row.id)
    return {
      id: row.id,
      revision: isJudged(row) ? row.revision : 0,
      observation: member === undefined ? null : await digestOf(member.bytes),
      preview: previews.find(finding => finding.id === row.id)?.outcome ?? "unmeasured",
      skippedByContributor: reason?.skippedByContributor ?? false,
      notObserved: member === undefined ? (reason?.because ?? "this version does not observe it").slice(0, 512) : null,
    }
  })
  return Promise.all(rows)
}
