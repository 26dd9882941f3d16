// Signs states with keys of this run.
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto"
import { packSigned, type UnsignedState } from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import { keySigner } from "@envidence/trust"

export interface KeyPair {
  readonly privateKeyPem: string
  readonly publicKeyPem: string
}

export function newKeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  return {
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicKeyPem: publicKey.export({ type: "spki", format: "pem" }).toString(),
  }
}

/** The state as a bundle, signed by the key. */
export async function signState(state: UnsignedState, { privateKeyPem }: KeyPair): Promise<Uint8Array> {
  return packSigned(state, await keySigner({ privateKeyPem })(state.statement), nodeCompression)
}

/** A valid signature over an envelope of another payload type (DSSE, "Signature Definition"). */
export async function signAs(payloadType: string, payload: Uint8Array, { privateKeyPem }: KeyPair): Promise<Buffer> {
  const bundle = JSON.parse(Buffer.from(await keySigner({ privateKeyPem })(payload)).toString())
  const preAuthEncoding = Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `),
    payload,
  ])
  bundle.dsseEnvelope.payloadType = payloadType
  bundle.dsseEnvelope.signatures[0].sig = sign("sha256", preAuthEncoding, createPrivateKey(privateKeyPem)).toString(
    "base64",
  )
  return Buffer.from(JSON.stringify(bundle))
}
