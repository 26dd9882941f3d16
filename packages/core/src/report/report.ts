import type { AuthenticatedBundle } from "../authenticate.js"
import type { Binding, BoundEvidence } from "../bind.js"
import type { UntrustedBundle } from "../bundle/reader.js"
import { CATALOGUE_VERSION, catalogueDigest } from "../criteria/index.js"
import { type ErrorCode, type EvidenceError, exitCodeOf } from "../errors.js"
import { policyDigest } from "../policy.js"
import { type Finding, isAccepted } from "../rejudge.js"
import type { PolicyDocument, ReportDocument } from "../schema/documents.generated.js"
import type { Signer } from "../signer.js"
import type { Declaration } from "../submission/declaration.js"
import { shorten } from "./escape.js"

export type Report = ReportDocument

// A message may name a path of any length.
const MESSAGE_CHARACTERS = 8192

export const REPORT_SCHEMA = "https://envidence.dev/schemas/v1/report.json"

/** What is known when the verifier stops; the further it came, the more there is. */
export interface ReportFacts {
  readonly bundle?: UntrustedBundle
  readonly authenticated?: AuthenticatedBundle
  readonly bound?: BoundEvidence
  readonly findings?: readonly Finding[]
  readonly bindings?: readonly Binding[]
  readonly policy: PolicyDocument | null
  readonly expectedChallenge: string | null
  readonly trustedRootSha256: string | null
  /** Whether the command line accepts signers that the policy, which names its own, does not. */
  readonly policySignersSetAside?: boolean
  /** A signer that was found and is not accepted. */
  readonly refusedSigner?: Signer
  readonly error?: EvidenceError
}

/** The report of `verify-evidence`. Before binding there are no findings: nothing unproven is shown as a result. */
export async function buildReport(facts: ReportFacts): Promise<Report> {
  const { bundle, authenticated, bound, policy, error } = facts
  const findings = error === undefined ? [...(facts.findings ?? [])] : []
  const accepted = error === undefined && findings.length > 0 && isAccepted(findings)
  const signer = authenticated?.signer ?? facts.refusedSigner
  return {
    schema: REPORT_SCHEMA,
    verdict: verdictOf(error, accepted),
    exitCode: (error?.exitCode ?? (accepted ? 0 : 3)) as Report["exitCode"],
    title: bound === undefined ? "" : titleOf(bound.declaration, authenticated?.predicate.submission?.digest ?? ""),
    bundles: bundle === undefined ? [] : [describeBundle(bundle, authenticated, signer)],
    policy: policy === null ? null : { id: policy.id, version: policy.version, digest: await policyDigest(policy) },
    catalogue: { version: CATALOGUE_VERSION, digest: await catalogueDigest() },
    challenge: describeChallenge(facts),
    trustedRoot: facts.trustedRootSha256 === null ? null : { sha256: facts.trustedRootSha256 },
    bindings: (bound?.bindings ?? facts.bindings ?? []).map(binding => ({
      ...binding,
      because: shorten(binding.because, MESSAGE_CHARACTERS),
    })),
    findings,
    honesty: honestyOf(facts, findings),
    error: error === undefined ? null : { code: error.code, message: shorten(error.message, MESSAGE_CHARACTERS) },
  }
}

/** The report of `emit-evidence check` and of a preview: same shape, nothing signed, verdict `checked`. */
export async function buildCheckReport(
  findings: readonly Finding[],
  policy: PolicyDocument,
  declaration: Declaration,
  submission: string,
  bindings: readonly Binding[] = [],
): Promise<Report> {
  const report = await buildReport({ findings, bindings, policy, expectedChallenge: null, trustedRootSha256: null })
  const title = titleOf(declaration, submission)
  return { ...report, verdict: "checked", title, honesty: { ...report.honesty, proves: [] } }
}

function verdictOf(error: EvidenceError | undefined, accepted: boolean): Report["verdict"] {
  if (error === undefined) return accepted ? "accepted" : "rejected"
  return exitCodeOf[error.code as ErrorCode] < 3 ? "no-decision" : "rejected"
}

// The title stands beside our own words: a name with spaces could say any of them, so it is quoted.
function nameOf(text: string, length: number): string {
  const short = shorten(text, length)
  return /^[A-Za-z0-9._/@+-]+$/.test(text) ? short : JSON.stringify(short)
}

const titleOf = ({ name, version }: Declaration, submission: string): string =>
  [
    name === null ? "unnamed" : nameOf(name, 28),
    version === null ? "" : nameOf(version, 14),
    submission === "" ? "" : `at ${submission.replace("sha256:", "").slice(0, 12)}`,
  ]
    .filter(Boolean)
    .join(" ")

function describeBundle(
  bundle: UntrustedBundle,
  authenticated: AuthenticatedBundle | undefined,
  signer: Signer | undefined,
): Report["bundles"][number] {
  return {
    sha256: bundle.sha256,
    size: bundle.size,
    signer: signer === undefined ? null : { ...signer, claims: { ...signer.claims } },
    signedAt: authenticated?.signedAt ?? null,
    measuredAfter: authenticated?.predicate.challenge == null ? null : `challenge ${authenticated.predicate.challenge}`,
  }
}

function describeChallenge({ expectedChallenge, authenticated }: ReportFacts): Report["challenge"] {
  const found = authenticated?.predicate.challenge ?? null
  const outcome =
    expectedChallenge === null || authenticated === undefined
      ? "not-checked"
      : found === expectedChallenge
        ? "holds"
        : "broken"
  return { expected: expectedChallenge, found, outcome }
}

// The report's list of what was not checked takes 256 lines, and one for each criterion and binding.
const UNMEASURED_SHOWN = 64

export const SIGNERS_SET_ASIDE = "the policy's own signers were set aside by the command line"

function honestyOf(
  { authenticated, bound, policySignersSetAside }: ReportFacts,
  findings: readonly Finding[],
): Report["honesty"] {
  const named = (assurance: Finding["assurance"]) =>
    findings.filter(finding => finding.assurance === assurance).map(finding => finding.id)
  // A criterion may pass on the half of it that was looked at.
  const unmeasured = findings
    .filter(finding => finding.outcome !== "unmeasured")
    .flatMap(({ id, parts }) =>
      parts.filter(part => part.outcome === "unmeasured").map(({ because }) => shorten(`${id}: ${because}`, 400)),
    )
  const open = (bound?.bindings ?? []).filter(binding => binding.outcome === "not-checked")
  return {
    proves: authenticated === undefined ? [] : [provenBy(authenticated)],
    recomputedHere: named("derived"),
    attestedOnly: named("attested"),
    notChecked: [
      ...named("missing"),
      ...[...new Set(unmeasured)].slice(0, UNMEASURED_SHOWN),
      ...(policySignersSetAside === true ? [SIGNERS_SET_ASIDE] : []),
      ...open.map(binding => `${binding.id}: ${binding.because}`),
      "that the reward means what the README says",
      "how the environment behaves elsewhere than under validation",
    ],
  }
}

function provenBy({ signer, signedAt }: AuthenticatedBundle): string {
  const when = signedAt === null ? "at a time that nothing proves" : `by ${signedAt}`
  return `${signer.identity} signed these bytes ${when}`
}
