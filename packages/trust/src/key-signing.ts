import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto"
import { EvidenceError, PAYLOAD_TYPE, type StatementSigner } from "@envidence/core"
import { bundleToJSON, toDSSEBundle } from "@sigstore/bundle"
import { keyAuthenticator } from "./authentication.js"
import { algorithmOf, describeKey, fingerprintOf, hintOfFingerprint, preAuthEncoding } from "./public-key.js"

export interface KeySigning {
  /** PKCS#8 in PEM: ECDSA P-256 or P-384, or Ed25519. */
  readonly privateKeyPem: string
  readonly passphrase?: string
}

/**
 * Signs with a private key, without log and time. The bundle names the key by its fingerprint and does not contain it.
 *
 * @throws EvidenceError usage at once where the key cannot be used
 */
export function keySigner(options: KeySigning): StatementSigner {
  const privateKey = readPrivateKey(options)
  const publicKey = createPublicKey(privateKey)
  const publicKeyPem = publicKey.export({ type: "spki", format: "pem" }).toString()
  return async statement => {
    const attestation = createBundle(Buffer.from(statement), privateKey, publicKey)
    const { payload } = await keyAuthenticator({ publicKeyPem })(attestation)
    if (!Buffer.from(statement).equals(payload))
      throw new EvidenceError("internal", "the signature is over other bytes")
    return attestation
  }
}

function createBundle(statement: Buffer, privateKey: KeyObject, publicKey: KeyObject): Uint8Array {
  const bundle = toDSSEBundle({
    artifact: statement,
    artifactType: PAYLOAD_TYPE,
    signature: sign(algorithmOf(privateKey), preAuthEncoding(PAYLOAD_TYPE, statement), privateKey),
    keyHint: hintOfFingerprint(fingerprintOf(publicKey)),
    certificateChain: false,
  })
  return Buffer.from(JSON.stringify(bundleToJSON(bundle)))
}

function readPrivateKey({ privateKeyPem, passphrase }: KeySigning): KeyObject {
  const label = /^-----BEGIN ([A-Z0-9 ]+)-----$/m.exec(privateKeyPem)?.[1]
  if (label !== "PRIVATE KEY" && label !== "ENCRYPTED PRIVATE KEY") throw unusable("it is not PKCS#8 in PEM")
  if (label === "ENCRYPTED PRIVATE KEY" && passphrase === undefined)
    throw unusable("it is encrypted, and no passphrase was given")
  let key: KeyObject
  try {
    key = createPrivateKey({ key: privateKeyPem, format: "pem", ...(passphrase === undefined ? {} : { passphrase }) })
  } catch {
    throw unusable(label === "PRIVATE KEY" ? "it cannot be read" : "the passphrase does not open it")
  }
  const signs = key.asymmetricKeyType === "ed25519" || key.asymmetricKeyType === "ec"
  if (!signs || algorithmOf(key) === undefined) throw unusable(`a key of type ${describeKey(key)} is not supported`)
  return key
}

const unusable = (why: string) =>
  new EvidenceError("usage", `the private key cannot be used: ${why}`, {
    hint: "give an ECDSA P-256 or P-384 or Ed25519 key; `openssl pkcs8 -topk8` converts other formats of PEM",
  })
