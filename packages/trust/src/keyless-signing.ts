import { EvidenceError, PAYLOAD_TYPE, type StatementSigner } from "@envidence/core"
import { bundleToJSON } from "@sigstore/bundle"
import type { Bundle, Signer as SigstoreSigner, Witness } from "@sigstore/sign"
import { sigstoreAuthenticator } from "./authentication.js"
import { type IdentitySource, readIdentityToken, redactToken } from "./identity-token.js"
import { RekorV2Witness, type WitnessOptions } from "./rekor-v2-witness.js"
import type { SigningServices } from "./signing-services.js"
import type { TrustedRootSource } from "./trusted-root.js"

export type KeylessSigning = IdentitySource & {
  readonly services: SigningServices
  /** The root of these services: what they answer is verified before it is returned. */
  readonly trustedRoot: TrustedRootSource
  /** For one attempt at one service, in milliseconds. */
  readonly timeoutMs?: number
  /** After a first failure, where trying again may help. */
  readonly retries?: number
}

const TIMEOUT_MS = 20_000
const RETRIES = 2
const LATER = "the unsigned bundle is kept: run `emit-evidence sign` on it later"

/**
 * Signs with a short-lived certificate that Fulcio issues for an identity token, and logs and timestamps the signature.
 *
 * @throws EvidenceError usage or signing-not-chosen where there is no usable token, service-failed where a service does
 * not answer as it must; neither ever contains the token
 */
export function keylessSigner(options: KeylessSigning): StatementSigner {
  return async statement => {
    const token = await readIdentityToken(options)
    const bundle = await createBundle(statement, token, options)
    const attestation = Buffer.from(JSON.stringify(bundleToJSON(bundle)))
    await verifyOwn(attestation, statement, options.trustedRoot)
    return attestation
  }
}

async function createBundle(statement: Uint8Array, token: string, options: KeylessSigning): Promise<Bundle> {
  // Imported only here: verifying must load no network code.
  const { DSSEBundleBuilder, FulcioSigner, RekorWitness, TSAWitness } = await import("@sigstore/sign")
  const { services, timeoutMs = TIMEOUT_MS, retries = RETRIES } = options
  const limits: WitnessOptions = { timeoutMs, retries }
  const library = { timeout: timeoutMs, retry: { retries, minTimeout: 250 } }
  const { fulcioUrl, rekor, timestampUrls } = services
  const identityProvider = { getToken: async () => token }
  const fulcio = new FulcioSigner({ fulcioBaseURL: fulcioUrl, identityProvider, ...library })
  const logs = rekor.map(({ url, majorApiVersion }) => {
    const witness =
      majorApiVersion === 2 ? new RekorV2Witness(url, limits) : new RekorWitness({ rekorBaseURL: url, ...library })
    return namedWitness("Rekor", url, witness, token)
  })
  const authorities = timestampUrls.map(url =>
    namedWitness("the timestamp authority", url, new TSAWitness({ tsaBaseURL: url, ...library }), token),
  )
  const builder = new DSSEBundleBuilder({
    signer: namedSigner("Fulcio", fulcioUrl, fulcio, token),
    witnesses: [...logs, ...authorities],
  })
  return builder.create({ data: Buffer.from(statement), type: PAYLOAD_TYPE })
}

const namedSigner = (name: string, url: string, signer: SigstoreSigner, token: string): SigstoreSigner => ({
  sign: data => signer.sign(data).catch((cause: unknown) => Promise.reject(serviceFailed(name, url, cause, token))),
})

const namedWitness = (name: string, url: string, witness: Witness, token: string): Witness => ({
  testify: (content, publicKey) =>
    witness
      .testify(content, publicKey)
      .catch((cause: unknown) => Promise.reject(serviceFailed(name, url, cause, token))),
})

// Without `cause`: the library's errors and the services' answers may quote the token.
function serviceFailed(name: string, url: string, cause: unknown, token: string): EvidenceError {
  const because = redactToken(oneLine(innermostMessage(cause)), token).slice(0, MESSAGE_CHARACTERS)
  return new EvidenceError("service-failed", `${name} at ${url} failed: ${because}`, { hint: LATER })
}

function innermostMessage(cause: unknown): string {
  let error = cause
  for (let depth = 0; depth < 8 && error instanceof Error && error.cause instanceof Error; depth++) error = error.cause
  return error instanceof Error ? error.message : String(error)
}

const MESSAGE_CHARACTERS = 300

const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")

async function verifyOwn(
  attestation: Uint8Array,
  statement: Uint8Array,
  trustedRoot: TrustedRootSource,
): Promise<void> {
  const authenticate = sigstoreAuthenticator({ trustedRoot, signers: { anySignerUnsafe: true } })
  try {
    const { payload } = await authenticate(attestation)
    if (!Buffer.from(statement).equals(payload)) throw new EvidenceError("internal", "it signs other bytes")
  } catch (cause) {
    if (cause instanceof EvidenceError && cause.code === "service-failed") throw cause
    const because = cause instanceof EvidenceError ? cause.message : "it cannot be read"
    throw new EvidenceError("service-failed", `the services gave a signature that does not verify: ${because}`, {
      hint: `check that the trusted root is of these services; ${LATER}`,
      // A bundle holds no token, so neither does what is wrong with it.
      cause,
    })
  }
}
