import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto"
import { EvidenceError } from "@envidence/core"
import { dsse } from "@sigstore/core"

/** A public key that the verifier was given, with its fingerprint. */
export interface PinnedKey {
  readonly key: KeyObject
  /** SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) in DER, 64 lower-case hexadecimal digits. */
  readonly sha256: string
}

// What each key signs with: Sigstore's algorithm registry (architecture-docs, algorithm-registry.md).
const digestOfCurve: Readonly<Record<string, string>> = { prime256v1: "sha256", secp384r1: "sha384" }
const RSA_BITS = 2048

/**
 * Reads a PEM public key: ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits and more.
 *
 * @throws EvidenceError usage where it is not such a key
 */
export function readPublicKey(pem: string): PinnedKey {
  // createPublicKey would derive the public half of a private key without a word.
  if (!/^-----BEGIN (?:RSA )?PUBLIC KEY-----$/m.test(pem)) throw unusable("the key is not a PEM public key")
  let key: KeyObject
  try {
    key = createPublicKey({ key: pem, format: "pem" })
  } catch (cause) {
    throw unusable("the PEM public key cannot be read", cause)
  }
  if (algorithmOf(key) === undefined) throw unusable(`a public key of type ${describeKey(key)} is not supported`)
  return { key, sha256: fingerprintOf(key) }
}

/**
 * The fingerprint of a PEM public key: SHA-256 over its SPKI, in hexadecimal.
 *
 * @throws EvidenceError usage where it is not a supported public key
 */
export const publicKeyFingerprint = (pem: string): string => readPublicKey(pem).sha256

export function fingerprintOf(key: KeyObject): string {
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest("hex")
}

/** Sigstore clients write the base64 of the fingerprint as a bundle's `publicKey.hint`; so do we. */
export const hintOfFingerprint = (sha256: string): string => Buffer.from(sha256, "hex").toString("base64")

export function fingerprintOfHint(hint: string): string | undefined {
  const bytes = Buffer.from(hint, "base64")
  return bytes.length === 32 && bytes.toString("base64") === hint ? bytes.toString("hex") : undefined
}

export interface SignedEnvelope {
  readonly payloadType: string
  readonly payload: Uint8Array
  readonly signature: Uint8Array
}

/** The bytes that a DSSE signature covers (DSSE 1.0.2, "PAE"). */
export const preAuthEncoding = (payloadType: string, payload: Uint8Array): Buffer =>
  dsse.preAuthEncoding(payloadType, Buffer.from(payload))

export function isSignedBy(key: KeyObject, { payloadType, payload, signature }: SignedEnvelope): boolean {
  const algorithm = algorithmOf(key)
  if (algorithm === undefined) return false
  try {
    return verify(algorithm, preAuthEncoding(payloadType, payload), key, signature)
  } catch {
    return false
  }
}

/** The digest to sign with, null where the key brings its own (Ed25519), undefined where the key is not supported. */
export function algorithmOf(key: KeyObject): string | null | undefined {
  const details = key.asymmetricKeyDetails
  if (key.asymmetricKeyType === "ed25519") return null
  if (key.asymmetricKeyType === "ec") return digestOfCurve[details?.namedCurve ?? ""]
  if (key.asymmetricKeyType === "rsa" && (details?.modulusLength ?? 0) >= RSA_BITS) return "sha256"
  return undefined
}

export function describeKey(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  return [key.asymmetricKeyType, namedCurve ?? modulusLength].filter(part => part !== undefined).join(" ")
}

const unusable = (message: string, cause?: unknown) =>
  new EvidenceError("usage", message, {
    hint: "give an ECDSA P-256 or P-384, Ed25519 or RSA (2048 bits or more) public key in PEM",
    cause,
  })
