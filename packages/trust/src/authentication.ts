import { type Authenticator, type ErrorCode, EvidenceError, type Signer, type VerifiedEnvelope } from "@envidence/core"
import { RFC3161Timestamp } from "@sigstore/core"
import { type TrustMaterial, toSignedEntity, VerificationError, Verifier, type VerifierOptions } from "@sigstore/verify"
import { readAttestation, type UntrustedAttestation } from "./attestation.js"
import { type LeafCertificate, readLeafCertificate } from "./certificate.js"
import { fingerprintOfHint, isSignedBy, type PinnedKey, readPublicKey } from "./public-key.js"
import { compileSignerPolicy, type SignerPolicy, type SignerRules, UntrustedSignerError } from "./signer-policy.js"
import { resolveTrustedRoot, type TrustedRoot, type TrustedRootSource } from "./trusted-root.js"

export interface SigstoreAuthentication {
  readonly trustedRoot: TrustedRootSource
  readonly signers: SignerPolicy
  /** PEM public keys for signatures without a certificate; which of them count, `signers` says. */
  readonly publicKeys?: readonly string[]
}

export interface KeyAuthentication {
  readonly publicKeyPem: string
  /** Where given, log entries and timestamps beside the signature are verified, and the time is believed. */
  readonly trustedRoot?: TrustedRootSource
}

interface Trust {
  readonly rules: SignerRules
  readonly keys: readonly PinnedKey[]
  readonly trustedRoot: TrustedRootSource | undefined
}

/**
 * Verifies what a Sigstore signed: DSSE signature, certificate chain, certificate transparency, one log entry and one
 * trusted time at least, then the signer.
 *
 * @throws EvidenceError usage or no-signer-chosen at once where the policy or a key cannot be used
 */
export function sigstoreAuthenticator(options: SigstoreAuthentication): Authenticator {
  return authenticator({
    rules: compileSignerPolicy(options.signers),
    keys: (options.publicKeys ?? []).map(readPublicKey),
    trustedRoot: options.trustedRoot,
  })
}

/**
 * Verifies a DSSE signature by one pinned public key. Without a trusted root the signature has no time.
 *
 * @throws EvidenceError usage at once where the key cannot be used
 */
export function keyAuthenticator({ publicKeyPem, trustedRoot }: KeyAuthentication): Authenticator {
  const key = readPublicKey(publicKeyPem)
  const rules = compileSignerPolicy({ accepted: [{ keySha256: key.sha256 }] })
  return authenticator({ rules, keys: [key], trustedRoot })
}

function authenticator(trust: Trust): Authenticator {
  return async bytes => {
    const attestation = readAttestation(bytes)
    const { key } = attestation
    return "certificate" in key
      ? authenticateCertificate(attestation, key.certificate, trust)
      : authenticateKey(attestation, key.hint, trust)
  }
}

const ALL_ONE: VerifierOptions = { tlogThreshold: 1, ctlogThreshold: 1, timestampThreshold: 1 }
// Beside a pinned key nothing of this is needed, but what is there must be right.
const ALL_ZERO: VerifierOptions = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }

async function authenticateCertificate(
  attestation: UntrustedAttestation,
  der: Uint8Array,
  { rules, trustedRoot }: Trust,
): Promise<VerifiedEnvelope> {
  const leaf = readLeafCertificate(der)
  if (!rules.acceptsIdentities || trustedRoot === undefined) {
    throw new EvidenceError("untrusted-signer", `expected ${rules.expected}, found a keyless signature`, {
      hint: "accept its certificate identity and issuer, or ask for a signature by the key",
    })
  }
  const root = await resolveTrustedRoot(trustedRoot)
  checkAuthority(leaf, root)
  checkSignature(isSignedBy(leaf.publicKey, attestation.envelope), "the certificate beside it")
  if (!isLogged(attestation)) throw broken("bad-log-entry", "the signature is in no transparency log")
  if (!carriesTime(attestation)) throw noTrustedTime()
  const signedAt = verifyEvidence(attestation, root.material, ALL_ONE)
  return accept(attestation, leaf.signer, rules, signedAt)
}

async function authenticateKey(
  attestation: UntrustedAttestation,
  hint: string,
  { rules, keys, trustedRoot }: Trust,
): Promise<VerifiedEnvelope> {
  const sha256 = fingerprintOfHint(hint)
  const pinned = keys.find(key => key.sha256 === sha256)
  if (pinned === undefined) throw unknownKey(sha256, hint, rules)
  checkSignature(isSignedBy(pinned.key, attestation.envelope), `key sha256:${pinned.sha256}`)
  const signer: Signer = { kind: "key", identity: `sha256:${pinned.sha256}`, issuer: null, claims: {} }
  if (trustedRoot === undefined || !carriesEvidence(attestation)) return accept(attestation, signer, rules, null)
  const { material } = await resolveTrustedRoot(trustedRoot)
  const publicKey = () => ({ publicKey: pinned.key, validFor: () => true })
  const signedAt = verifyEvidence(attestation, { ...material, publicKey }, ALL_ZERO)
  return accept(attestation, signer, rules, signedAt)
}

function accept(
  { envelope }: UntrustedAttestation,
  signer: Signer,
  rules: SignerRules,
  signedAt: string | null,
): VerifiedEnvelope {
  if (!rules.accepts(signer)) throw new UntrustedSignerError(signer, rules.expected)
  return { payloadType: envelope.payloadType, payload: envelope.payload, signer, signedAt }
}

// First by names and key identifiers: a certificate that only claims a known issuer is broken, not foreign. The library
// verifies the chain too, but leaves the outer name of the signature's algorithm unread.
function checkAuthority({ x509 }: LeafCertificate, root: TrustedRoot): void {
  const issuers = root.authorities.filter(authority => x509.checkIssued(authority))
  if (issuers.some(issuer => x509.verify(issuer.publicKey))) return
  if (issuers.length > 0) throw broken("bad-certificate", "certificate refused: its issuer has not signed it")
  const name = x509.issuer.split("\n").join(", ")
  throw new EvidenceError(
    "untrusted-authority",
    `the certificate was issued by ${name}, which is no authority of the trusted root (sha256 ${root.sha256})`,
    { hint: "give the trusted root of the Sigstore that signed, if you trust it, with --trusted-root" },
  )
}

function checkSignature(holds: boolean, by: string): void {
  if (!holds) throw broken("bad-signature", `the signature over the statement is not by ${by}`)
}

function unknownKey(sha256: string | undefined, hint: string, rules: SignerRules): EvidenceError {
  const found = sha256 ? `key sha256:${sha256}` : `a key with the hint ${JSON.stringify(hint.slice(0, 100))}`
  if (sha256 !== undefined && rules.acceptsKey(sha256))
    return new EvidenceError("untrusted-key", `${found} is accepted, but its PEM is not given`, {
      hint: "give the PEM with --key",
    })
  return new EvidenceError("untrusted-key", `expected ${rules.expected}, found a signature that names ${found}`, {
    hint: "if this key is the right one, give its PEM with --key",
  })
}

/** Verifies log entries, timestamps and, where there is a certificate, its chain; gives the earliest trusted time. */
function verifyEvidence(
  attestation: UntrustedAttestation,
  material: TrustMaterial,
  options: VerifierOptions,
): string | null {
  const times = readTimes(attestation)
  try {
    const entity = toSignedEntity(attestation.bundle)
    // Verified by us already, with the digest that belongs to the key; the library knows SHA-256 only.
    if (entity.key.$case === "public-key") entity.signature.verifySignature = () => true
    new Verifier(material, options).verify(entity)
  } catch (cause) {
    throw asEvidenceError(cause)
  }
  for (const entry of attestation.bundle.verificationMaterial.tlogEntries) checkProof(entry)
  return times.length === 0 ? null : new Date(Math.min(...times)).toISOString()
}

type LogEntry = UntrustedAttestation["bundle"]["verificationMaterial"]["tlogEntries"][number]

/** What the library leaves unread in a log entry whose proof and checkpoint it has verified. */
function checkProof({ logIndex, inclusionPromise, inclusionProof }: LogEntry): void {
  // Only a promise signs the outer index, which counts across shards; without one it must be the proof's.
  if (inclusionPromise === undefined && logIndex !== inclusionProof.logIndex) {
    throw broken("bad-log-entry", `the log entry's index ${logIndex} is not its proof's`)
  }
  const [, size, root] = inclusionProof.checkpoint.envelope.split("\n", 3)
  if (inclusionProof.treeSize !== size || inclusionProof.rootHash.toString("base64") !== root) {
    throw broken("bad-log-entry", "the log entry's proof is for another tree than its checkpoint")
  }
}

function carriesTime({ bundle }: UntrustedAttestation): boolean {
  const { tlogEntries, timestampVerificationData } = bundle.verificationMaterial
  return (timestampVerificationData?.rfc3161Timestamps.length ?? 0) > 0 || tlogEntries.some(carriesPromisedTime)
}

const carriesPromisedTime = ({ inclusionPromise, integratedTime }: LogEntry): boolean =>
  inclusionPromise !== undefined && integratedTime !== "0"

const isLogged = ({ bundle }: UntrustedAttestation): boolean => bundle.verificationMaterial.tlogEntries.length > 0

const carriesEvidence = (attestation: UntrustedAttestation): boolean =>
  carriesTime(attestation) || isLogged(attestation)

/** Every time that verifyEvidence verifies, in milliseconds; to be believed only afterwards. */
function readTimes({ bundle }: UntrustedAttestation): number[] {
  const { tlogEntries, timestampVerificationData } = bundle.verificationMaterial
  const stamps = timestampVerificationData?.rfc3161Timestamps ?? []
  const promised = tlogEntries.filter(carriesPromisedTime).map(entry => Number(entry.integratedTime) * 1000)
  return [...stamps.map(stamp => readTimestamp(stamp.signedTimestamp)), ...promised]
}

function readTimestamp(der: Uint8Array): number {
  try {
    const time = RFC3161Timestamp.parse(Buffer.from(der)).signingTime.getTime()
    if (!Number.isNaN(time)) return time
  } catch (cause) {
    throw broken("bad-timestamp", "the timestamp cannot be read", cause)
  }
  throw broken("bad-timestamp", "the timestamp has no valid time")
}

function noTrustedTime(): EvidenceError {
  return new EvidenceError("no-trusted-time", "the signature has neither a timestamp nor a log's promise with a time", {
    hint: "sign again with a timestamp authority, or with a log that promises its time",
  })
}

// The library throws errors of many kinds over hostile bytes, its own among them; none may pass, none may escape.
function asEvidenceError(cause: unknown): EvidenceError {
  if (!(cause instanceof VerificationError)) {
    return broken("malformed-attestation", "a certificate, log entry or timestamp cannot be read", cause)
  }
  const inner: unknown = cause.cause
  const because = inner instanceof Error ? `${cause.message}: ${inner.message}` : cause.message
  if (cause.code.startsWith("TLOG")) return broken("bad-log-entry", `log entry refused: ${because}`, cause)
  if (cause.code === "TIMESTAMP_ERROR") return broken("bad-timestamp", `timestamp refused: ${because}`, cause)
  if (cause.code === "CERTIFICATE_ERROR") return broken("bad-certificate", `certificate refused: ${because}`, cause)
  return broken("bad-signature", `signature refused: ${because}`, cause)
}

const broken = (code: ErrorCode, message: string, cause?: unknown) =>
  new EvidenceError(code, message, {
    hint: "the bundle was damaged or altered after it was signed: get it again from its author",
    cause,
  })
