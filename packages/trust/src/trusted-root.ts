import { createHash, X509Certificate } from "node:crypto"
import { EvidenceError, parseStrictJson } from "@envidence/core"
import { TrustedRoot as TrustedRootMessage } from "@sigstore/protobuf-specs"
import { type TrustMaterial, toTrustMaterial } from "@sigstore/verify"

/** The authorities and logs that a verifier believes: Sigstore's trusted_root.json. */
export interface TrustedRoot {
  /** SHA-256 of the file, 64 hexadecimal digits. */
  readonly sha256: string
  /** When the newest of its keys became valid (RFC 3339, UTC): the root is not older than that. */
  readonly newestKeyFrom: string
  /** The certificates of its certificate authorities. */
  readonly authorities: readonly X509Certificate[]
  /** For @sigstore/verify. */
  readonly material: TrustMaterial
}

/** A root, or how to get it where a bundle turns out to need one. */
export type TrustedRootSource = TrustedRoot | (() => Promise<TrustedRoot>)

const TRUSTED_ROOT_BYTES = 1_000_000
const MEDIA_TYPES = [
  "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
  "application/vnd.dev.sigstore.trustedroot.v0.2+json",
]

/**
 * Reads a trusted_root.json.
 *
 * @throws EvidenceError usage where it is not one, or where a key in it has no beginning of validity
 */
export function readTrustedRoot(bytes: Uint8Array): TrustedRoot {
  if (bytes.length > TRUSTED_ROOT_BYTES) throw unusable(`it is larger than ${TRUSTED_ROOT_BYTES} bytes`)
  const message = parseRoot(bytes)
  if (!MEDIA_TYPES.includes(message.mediaType)) throw unusable(`its media type is not ${MEDIA_TYPES.join(" or ")}`)
  try {
    return {
      sha256: createHash("sha256").update(bytes).digest("hex"),
      newestKeyFrom: newestStart(message),
      authorities: readAuthorities(message),
      material: toTrustMaterial(message),
    }
  } catch (cause) {
    if (cause instanceof EvidenceError) throw cause
    throw unusable("a key or certificate in it cannot be read", cause)
  }
}

function parseRoot(bytes: Uint8Array): TrustedRootMessage {
  try {
    return TrustedRootMessage.fromJSON(parseStrictJson(bytes, "the trusted root"))
  } catch (cause) {
    throw unusable(cause instanceof EvidenceError ? cause.message : "it is not a trusted_root.json", cause)
  }
}

// The library takes a missing start for 1970, which would believe a key before its time.
function newestStart(root: TrustedRootMessage): string {
  const windows = [
    ...[...root.tlogs, ...root.ctlogs].map(log => log.publicKey?.validFor),
    ...[...root.certificateAuthorities, ...root.timestampAuthorities].map(authority => authority.validFor),
  ]
  const starts = windows.map(window => window?.start?.getTime() ?? Number.NaN)
  if (starts.length === 0) throw unusable("it is empty")
  if (starts.some(Number.isNaN)) throw unusable("a key in it has no validFor.start")
  return new Date(Math.max(...starts)).toISOString()
}

function readAuthorities(root: TrustedRootMessage): X509Certificate[] {
  const chains = root.certificateAuthorities.flatMap(authority => authority.certChain?.certificates ?? [])
  return chains.map(certificate => new X509Certificate(certificate.rawBytes))
}

const unusable = (why: string, cause?: unknown) =>
  new EvidenceError("usage", `the trusted root cannot be used: ${why}`, {
    hint: "give the trusted_root.json of the Sigstore that signed, from a source that you trust",
    cause,
  })

/**
 * Fetches the trusted root of the public-good Sigstore by The Update Framework, starting from the root of trust that
 * comes with @sigstore/tuf. Writes its cache below the user's data folder.
 *
 * @throws EvidenceError service-failed
 */
export async function fetchPublicGoodRoot(): Promise<TrustedRoot> {
  let target: string
  try {
    // Imported only here: verifying with a root from a file must load no network code.
    const { initTUF } = await import("@sigstore/tuf")
    const client = await initTUF({ timeout: 10_000, retry: { retries: 2 } })
    target = await client.getTarget("trusted_root.json")
  } catch (cause) {
    throw new EvidenceError("service-failed", "could not fetch the trusted root of the public-good Sigstore by TUF", {
      hint: "check the network, or give the root as a file with --trusted-root",
      cause,
    })
  }
  return readTrustedRoot(Buffer.from(target))
}

export const resolveTrustedRoot = (source: TrustedRootSource): Promise<TrustedRoot> =>
  typeof source === "function" ? source() : Promise.resolve(source)
