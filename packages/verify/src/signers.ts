import { type Authenticator, canonicalJson, EvidenceError, type PolicyDocument } from "@envidence/core"
import { readBoundedFile } from "@envidence/oci"
import {
  type AcceptedIdentity,
  type AcceptedKey,
  fetchPublicGoodRoot,
  keyAuthenticator,
  publicKeyFingerprint,
  readTrustedRoot,
  type SignerPolicy,
  sigstoreAuthenticator,
  type TrustedRoot,
} from "@envidence/trust"
import type { VerifyArguments } from "./arguments.js"

const KEY_BYTES = 65_536
const TRUSTED_ROOT_BYTES = 1_000_000

/** How the signature will be checked. */
export interface Trust {
  readonly authenticator: Authenticator
  /** SHA-256 of the trusted root in force; null where none was needed. */
  readonly trustedRootSha256: () => string | null
  /** Whether the command line accepts a signer that the policy, which names its own, does not. */
  readonly policySignersSetAside: boolean
}

/** @throws EvidenceError no-signer-chosen, usage, input-not-found */
export async function readTrust(told: VerifyArguments, policy: PolicyDocument): Promise<Trust> {
  const signers = chooseSigners(told, policy)
  demandKey(signers, told)
  const publicKey =
    told.key === undefined ? undefined : Buffer.from(await readBoundedFile(told.key, KEY_BYTES)).toString()
  let root: TrustedRoot | undefined
  if (told.trustedRoot !== undefined)
    root = readTrustedRoot(await readBoundedFile(told.trustedRoot, TRUSTED_ROOT_BYTES))
  const trustedRootSha256 = () => root?.sha256 ?? null
  const policySignersSetAside = goesBeyond(signers, publicKey, policy)
  if (publicKey !== undefined && signers === undefined) {
    const authenticator = keyAuthenticator({ publicKeyPem: publicKey, ...(root && { trustedRoot: root }) })
    return { authenticator, trustedRootSha256, policySignersSetAside }
  }
  const trustedRoot = async () => {
    root ??= told.offline ? refuseOffline() : await fetchPublicGoodRoot()
    return root
  }
  const accepted = withKey(signers ?? { accepted: [] }, publicKey)
  const authenticator = sigstoreAuthenticator({
    trustedRoot,
    signers: accepted,
    ...(publicKey !== undefined && { publicKeys: [publicKey] }),
  })
  return { authenticator, trustedRootSha256, policySignersSetAside }
}

function goesBeyond(
  signers: SignerPolicy | undefined,
  publicKey: string | undefined,
  { signers: byPolicy = [] }: PolicyDocument,
): boolean {
  const chosen = withKey(signers ?? { accepted: [] }, publicKey)
  if (byPolicy.length === 0 || "anySignerUnsafe" in chosen) return false
  const named = new Set(byPolicy.map(signer => canonicalJson(signer)))
  return chosen.accepted.some(signer => !named.has(canonicalJson(signer)))
}

// A key's digest verifies nothing: without its PEM every signature by it would be refused.
function demandKey(signers: SignerPolicy | undefined, { key }: VerifyArguments): void {
  if (key !== undefined || signers === undefined || "anySignerUnsafe" in signers) return
  const [first] = signers.accepted
  if (first === undefined || !signers.accepted.every(signer => "keySha256" in signer)) return
  throw new EvidenceError("usage", "the policy accepts keys only, and no key is given to verify with", {
    hint: `Give the key's PEM by --key: the policy names sha256:${"keySha256" in first ? first.keySha256 : ""}.`,
  })
}

function refuseOffline(): never {
  throw new EvidenceError("usage", "--offline needs the trusted root", {
    hint: "Give --trusted-root FILE (Sigstore's trusted_root.json).",
  })
}

// Undefined: a key was named, and no identity.
function chooseSigners(told: VerifyArguments, policy: PolicyDocument): SignerPolicy | undefined {
  const identity = acceptedIdentity(told)
  const byPolicy = policy.signers ?? []
  if (told.anySignerUnsafe) {
    if (identity !== undefined || told.key !== undefined || byPolicy.length > 0)
      throw new EvidenceError("usage", "--any-signer-unsafe contradicts the signer that is named")
    return { anySignerUnsafe: true }
  }
  if (identity !== undefined) return { accepted: [identity] }
  if (told.key !== undefined) return undefined
  if (byPolicy.length > 0) return { accepted: byPolicy }
  throw new EvidenceError("no-signer-chosen", "whose signature counts was not said", {
    hint: "Give --certificate-identity and --certificate-oidc-issuer, --key PEM, or --any-signer-unsafe.",
  })
}

function acceptedIdentity(told: VerifyArguments): AcceptedIdentity | undefined {
  const { certificateIdentity, certificateIdentityRegexp, certificateOidcIssuer, certificateOidcIssuerRegexp } = told
  const identity = oneOf("certificate-identity", {
    identity: certificateIdentity,
    identityRegexp: certificateIdentityRegexp,
  })
  const issuer = oneOf("certificate-oidc-issuer", {
    issuer: certificateOidcIssuer,
    issuerRegexp: certificateOidcIssuerRegexp,
  })
  if (identity === undefined && issuer === undefined) return undefined
  if (identity === undefined || issuer === undefined)
    throw new EvidenceError("usage", "an identity and its issuer go together", {
      hint: "Give both --certificate-identity and --certificate-oidc-issuer.",
    })
  return { ...identity, ...issuer } as AcceptedIdentity
}

function oneOf(option: string, values: Record<string, string | undefined>): Record<string, string> | undefined {
  const given = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined)
  if (given.length > 1) throw new EvidenceError("usage", `give --${option} or --${option}-regexp, not both`)
  return given.length === 0 ? undefined : Object.fromEntries(given)
}

function withKey(signers: SignerPolicy, publicKey: string | undefined): SignerPolicy {
  if (publicKey === undefined || "anySignerUnsafe" in signers) return signers
  const key: AcceptedKey = { keySha256: publicKeyFingerprint(publicKey) }
  return { accepted: [...signers.accepted, key] }
}
