// What the lab's Fulcio and those who ask it for certificates agree about.

/** Who signs: somebody with an email address, or a GitHub Actions workflow. */
export type LabIdentity =
  | { readonly email: string }
  | { readonly repository: string; readonly workflow?: string; readonly ref?: string }

/** A certificate that no good Fulcio would issue, to see that verifiers refuse it. */
export type Defect = "no-eku" | "ca" | "two-names" | "no-sct" | "no-issuer" | "expired"

export const EMAIL_ISSUER = "https://oidc.sigstore-lab.invalid"
export const GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
export const AUDIENCE = "sigstore"

export interface Claims {
  readonly iss: string
  readonly aud: string
  readonly sub: string
  readonly exp: number
  readonly email?: string
  readonly email_verified?: boolean
  readonly defect?: Defect
  readonly [name: string]: unknown
}

const LIFETIME_S = 600

export function claimsOf(who: LabIdentity): Claims {
  const exp = Math.floor(Date.now() / 1000) + LIFETIME_S
  if ("email" in who)
    return { iss: EMAIL_ISSUER, aud: AUDIENCE, exp, sub: who.email, email: who.email, email_verified: true }
  const { repository, workflow = "evidence.yml", ref = "refs/heads/main" } = who
  const sha = "5a".repeat(20)
  const workflowRef = `${repository}/.github/workflows/${workflow}@${ref}`
  return {
    iss: GITHUB_ISSUER,
    aud: AUDIENCE,
    exp,
    sub: `repo:${repository}:ref:${ref}`,
    repository,
    repository_id: "101",
    repository_owner: repository.split("/")[0],
    repository_owner_id: "7",
    repository_visibility: "public",
    ref,
    sha,
    job_workflow_ref: workflowRef,
    job_workflow_sha: sha,
    workflow_ref: workflowRef,
    workflow_sha: sha,
    runner_environment: "self-hosted",
    event_name: "push",
    run_id: "42",
    run_attempt: "1",
  }
}

/** The name that Fulcio puts into the certificate (its docs/oidc.md). */
export function nameOf(claims: Claims): { readonly type: "email" | "url"; readonly value: string } {
  if (claims.email !== undefined) return { type: "email", value: claims.email }
  return { type: "url", value: `https://github.com/${String(claims.job_workflow_ref)}` }
}
