import { type KeyObject, X509Certificate } from "node:crypto"
import { EvidenceError, type Signer } from "@envidence/core"
import { X509Certificate as SigstoreCertificate } from "@sigstore/core"

const CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
const FULCIO_ARC = "1.3.6.1.4.1.57264.1."
const ISSUER_V1 = "1"
const ISSUER_V2 = "8"

// Fulcio's docs/oid-info.md; names as sigstore-go prints them. Those from .8 on are DER UTF8Strings.
const claimNames: Readonly<Record<string, string>> = {
  "9": "buildSignerURI",
  "10": "buildSignerDigest",
  "11": "runnerEnvironment",
  "12": "sourceRepositoryURI",
  "13": "sourceRepositoryDigest",
  "14": "sourceRepositoryRef",
  "15": "sourceRepositoryIdentifier",
  "16": "sourceRepositoryOwnerURI",
  "17": "sourceRepositoryOwnerIdentifier",
  "18": "buildConfigURI",
  "19": "buildConfigDigest",
  "20": "buildTrigger",
  "21": "runInvocationURI",
  "22": "sourceRepositoryVisibilityAtSigning",
}

/** A signing certificate whose profile has been checked; who issued it has not. */
export interface LeafCertificate {
  readonly x509: X509Certificate
  readonly publicKey: KeyObject
  /** What it says about its holder: to be believed only once its chain is verified. */
  readonly signer: Signer
}

/**
 * Reads a signing certificate and checks what @sigstore/verify leaves to its caller: that it is for code signing, is no
 * authority itself, and names exactly one holder.
 *
 * @throws EvidenceError bad-certificate
 */
export function readLeafCertificate(der: Uint8Array): LeafCertificate {
  try {
    return read(new X509Certificate(der), SigstoreCertificate.parse(Buffer.from(der)))
  } catch (cause) {
    // Both parsers read lazily, and throw errors of many kinds as late as their getters are called.
    throw cause instanceof EvidenceError ? cause : bad("it cannot be read", cause)
  }
}

function read(x509: X509Certificate, sigstore: SigstoreCertificate): LeafCertificate {
  // OpenSSL's flag needs the key usage to agree; either sign of an authority is one too many.
  const authority = x509.ca || sigstore.extBasicConstraints?.isCA || sigstore.extKeyUsage?.keyCertSign
  if (authority) throw bad("it is an authority's, not a signer's")
  if (!x509.keyUsage?.includes(CODE_SIGNING))
    throw bad(`it is not for code signing (extended key usage ${CODE_SIGNING})`)
  const identity = readIdentity(x509.subjectAltName)
  // The library folds other bytes into ASCII: the two readings must agree.
  if (sigstore.subjectAltName !== identity) throw bad("its subject alternative name is ambiguous")
  const extensions = readFulcioExtensions(sigstore)
  const issuer = readIssuer(extensions)
  const signer: Signer = { kind: "keyless", identity, issuer, claims: readClaims(extensions) }
  return { x509, publicKey: x509.publicKey, signer }
}

// Node prints `URI:…` or `email:…`, separated by ", "; a value that could be mistaken for a separator comes in quotes.
function readIdentity(subjectAltName: string | undefined): string {
  const match = /^(?:URI|email):([^",]+)$/.exec(subjectAltName ?? "")
  const identity = match?.[1]
  if (identity === undefined) throw bad("it must have exactly one subject alternative name, a URI or an email address")
  return identity
}

function readFulcioExtensions(certificate: SigstoreCertificate): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>()
  for (const { subs } of certificate.extensions) {
    const oid = subs[0]?.toOID() ?? ""
    const value = subs.at(-1)?.value
    if (!oid.startsWith(FULCIO_ARC) || value === undefined) continue
    const number = oid.slice(FULCIO_ARC.length)
    if (found.has(number)) throw bad(`it has the extension ${oid} twice`)
    found.set(number, value)
  }
  return found
}

function readIssuer(extensions: ReadonlyMap<string, Uint8Array>): string {
  const current = extensions.get(ISSUER_V2)
  const legacy = extensions.get(ISSUER_V1)
  const issuer = current ? readUtf8String(current) : legacy ? decode(legacy) : undefined
  if (!issuer) throw bad("it names no OIDC issuer")
  return issuer
}

function readClaims(extensions: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  const claims: Record<string, string> = {}
  for (const [number, name] of Object.entries(claimNames)) {
    const value = extensions.get(number)
    if (value !== undefined) claims[name] = readUtf8String(value)
  }
  return claims
}

// X.690 sections 8.1.3 and 10.1: tag 0x0c, then the shortest form of the length.
function readUtf8String(der: Uint8Array): string {
  const first = der[1] ?? 0
  const extra = first < 0x80 ? 0 : first - 0x80
  const length = extra === 0 ? first : Number.parseInt(Buffer.from(der.subarray(2, 2 + extra)).toString("hex"), 16)
  const shortest = extra === 0 || (extra === 1 && length >= 0x80) || (extra === 2 && length >= 0x100)
  if (der[0] !== 0x0c || !shortest || der.length !== 2 + extra + length) throw bad("an extension is not a UTF8String")
  return decode(der.subarray(2 + extra))
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw bad("an extension is not UTF-8", cause)
  }
}

const bad = (why: string, cause?: unknown) =>
  new EvidenceError("bad-certificate", `the signing certificate is not acceptable: ${why}`, { cause })
