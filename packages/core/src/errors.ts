/**
 * Every way in which the tools refuse or give up, with its exit code (SPEC.md, "Error codes").
 *
 * 1 no decision · 2 usage · 4 malformed or cryptographically broken · 5 signer or freshness not trusted · 6 bindings do
 * not hold. A criterion that fails is data, never an error: exit code 3 has no error code.
 */
export const exitCodeOf = {
  internal: 1,
  "input-unreadable": 1,
  "engine-failed": 1,
  "build-failed": 1,
  "service-failed": 1,
  "registry-failed": 1,
  interrupted: 1,
  usage: 2,
  "input-not-found": 2,
  "no-subject-chosen": 2,
  "no-signer-chosen": 2,
  "invalid-policy": 2,
  "invalid-submission": 2,
  "signing-not-chosen": 2,
  "malformed-archive": 4,
  "limit-exceeded": 4,
  "malformed-json": 4,
  "schema-violation": 4,
  "unsupported-version": 4,
  "missing-member": 4,
  "unexpected-member": 4,
  "digest-mismatch": 4,
  "unknown-critical-role": 4,
  "no-attestation": 4,
  "malformed-attestation": 4,
  "wrong-payload-type": 4,
  "wrong-statement-type": 4,
  "wrong-predicate-type": 4,
  "bad-certificate": 4,
  "bad-signature": 4,
  "bad-log-entry": 4,
  "bad-timestamp": 4,
  "manifest-not-signed": 4,
  "malformed-image": 4,
  "untrusted-authority": 5,
  "untrusted-signer": 5,
  "untrusted-key": 5,
  "no-trusted-time": 5,
  "too-old": 5,
  "challenge-mismatch": 5,
  "subject-mismatch": 6,
  "inconsistent-bundle": 6,
  "observation-disagrees": 6,
  "preview-disagrees": 6,
} as const satisfies Record<string, 1 | 2 | 4 | 5 | 6>

export type ErrorCode = keyof typeof exitCodeOf

export interface ErrorDetails {
  /** What to do next, in one sentence for a person. */
  readonly hint?: string
  readonly cause?: unknown
}

/** A refusal with a closed code. Its message is one line and says what and where. */
export class EvidenceError extends Error {
  override readonly name = "EvidenceError"
  readonly code: ErrorCode
  readonly hint: string | undefined

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.hint = details.hint
  }

  get exitCode(): number {
    return exitCodeOf[this.code]
  }
}
