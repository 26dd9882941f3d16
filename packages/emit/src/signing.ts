import { existsSync } from "node:fs"
import { EvidenceError, type StatementSigner } from "@envidence/core"
import { readBoundedFile } from "@envidence/oci"
import {
  fetchPublicGoodRoot,
  keylessSigner,
  keySigner,
  readSigningConfig,
  readTrustedRoot,
  type SigningServices,
  servicesFromUrls,
} from "@envidence/trust"
import type { SigningArguments } from "./arguments.js"

/** How the run will end: signed, deliberately unsigned, or unsigned because nobody said how to sign. */
export type SigningPlan =
  | { readonly kind: "sign"; readonly signer: StatementSigner; readonly by: string }
  | { readonly kind: "none" }
  | { readonly kind: "undecided" }

type Env = Readonly<Record<string, string | undefined>>

const FILE_BYTES = 1_000_000

/**
 * Decides before the long work how to sign, so that a missing file is found at once.
 *
 * @throws EvidenceError usage, input-not-found
 */
export async function planSigning(told: SigningArguments, env: Env): Promise<SigningPlan> {
  if (!told.sign) {
    if (told.key !== undefined || told.identityToken !== undefined)
      throw new EvidenceError("usage", "--no-sign contradicts the key or token that is given")
    return { kind: "none" }
  }
  if (told.key !== undefined)
    return { kind: "sign", signer: await signerByKey(told.key, env), by: "with the key given" }
  if (told.identityToken === undefined && !hasAmbientIdentity(env)) return { kind: "undecided" }
  return { kind: "sign", signer: await keyless(told), by: "keylessly" }
}

const WITH_IDENTITY = "--identity-token TOKEN (or run in CI with an identity)"

/** For a run that may also end unsigned. */
export const SIGNING_HINT = `Three ways: ${WITH_IDENTITY}, --key PRIVATE.pem, or --no-sign; then: emit-evidence sign`

/** For `sign`, which has nothing else to do. */
export const SIGN_HINT = `Two ways: ${WITH_IDENTITY}, or --key PRIVATE.pem.`

const hasAmbientIdentity = (env: Env): boolean =>
  [env.SIGSTORE_ID_TOKEN, env.ACTIONS_ID_TOKEN_REQUEST_URL, env.BUILDKITE_AGENT_ACCESS_TOKEN].some(
    value => value !== undefined && value !== "",
  )

async function signerByKey(path: string, env: Env): Promise<StatementSigner> {
  if (/^[a-z0-9+]+:\/\//i.test(path))
    throw new EvidenceError("usage", "this version signs with PEM files, not with key services", {
      hint: "Give --key a PKCS#8 PEM file.",
    })
  const privateKeyPem = Buffer.from(await readBoundedFile(path, FILE_BYTES)).toString("utf8")
  const passphrase = env.ENVIDENCE_KEY_PASSWORD ?? env.COSIGN_PASSWORD
  return keySigner({ privateKeyPem, ...(passphrase !== undefined && { passphrase }) })
}

async function keyless(told: SigningArguments): Promise<StatementSigner> {
  const services = await chooseServices(told)
  const rootFile = told.trustedRoot
  const trustedRoot =
    rootFile === undefined ? fetchPublicGoodRoot : readTrustedRoot(await readBoundedFile(rootFile, FILE_BYTES))
  const source =
    told.identityToken === undefined
      ? { ambient: true as const }
      : { identityToken: await readToken(told.identityToken) }
  return keylessSigner({ ...source, services, trustedRoot })
}

// As in cosign: the token itself, or a file that holds it.
const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/

async function readToken(tokenOrFile: string): Promise<string> {
  if (TOKEN.test(tokenOrFile) && !existsSync(tokenOrFile)) return tokenOrFile
  if (!existsSync(tokenOrFile))
    // Not quoted: it may be a token with a typing error.
    throw new EvidenceError("input-not-found", "--identity-token is neither a token nor a file that exists")
  return Buffer.from(await readBoundedFile(tokenOrFile, TOKEN_BYTES))
    .toString("utf8")
    .trim()
}

const TOKEN_BYTES = 65_536

async function chooseServices(told: SigningArguments): Promise<SigningServices> {
  const { fulcioUrl, rekorUrl, timestampServerUrl, signingConfig } = told
  const urls = {
    ...(fulcioUrl !== undefined && { fulcioUrl }),
    ...(rekorUrl !== undefined && { rekorUrl }),
    ...(timestampServerUrl !== undefined && { timestampServerUrl }),
  }
  if (signingConfig === undefined) return servicesFromUrls(urls)
  if (Object.keys(urls).length > 0) throw new EvidenceError("usage", "give --signing-config or service URLs, not both")
  return readSigningConfig(await readBoundedFile(signingConfig, FILE_BYTES))
}
