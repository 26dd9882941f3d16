/** Who signed, as the verified certificate or the pinned key says; never from fields outside of the signature. */
export interface Signer {
  readonly kind: "keyless" | "key" | "kms"
  /** The certificate's subject alternative name, or `sha256:` and the fingerprint of the key's SPKI. */
  readonly identity: string
  /** The OIDC issuer of a keyless signature. */
  readonly issuer: string | null
  /** Further facts of the certificate's extensions (Fulcio OIDs 1.3.6.1.4.1.57264.1.*), by name. */
  readonly claims: Readonly<Record<string, string>>
}

/** A DSSE envelope whose signature has been verified, with the exact bytes that were signed. */
export interface VerifiedEnvelope {
  readonly payloadType: string
  readonly payload: Uint8Array
  readonly signer: Signer
  /** The earliest trusted time of the signature (RFC 3339, UTC), or null where no trusted source gave one. */
  readonly signedAt: string | null
}

/**
 * Verifies a Sigstore bundle (v0.3) over a DSSE envelope: signature, chain, log and time, and that the signer is one of
 * those accepted. Implemented by `@envidence/trust`.
 *
 * @throws EvidenceError with an exit code of 4 where it is malformed or broken, of 5 where it is not trusted
 */
export type Authenticator = (attestation: Uint8Array) => Promise<VerifiedEnvelope>

/** Signs the statement's exact bytes as a DSSE payload and returns the Sigstore bundle's JSON. */
export type StatementSigner = (statement: Uint8Array) => Promise<Uint8Array>

export const PAYLOAD_TYPE = "application/vnd.in-toto+json"
