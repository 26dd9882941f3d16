import { generateKeyPairSync } from "node:crypto"

export type KeyType = "P-256" | "P-384" | "P-521" | "Ed25519" | "RSA"

export function newKeyPair(type: KeyType = "P-256"): { readonly privateKeyPem: string; readonly publicKeyPem: string } {
  const { privateKey, publicKey } = generate(type)
  return {
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicKeyPem: publicKey.export({ type: "spki", format: "pem" }).toString(),
  }
}

function generate(type: KeyType) {
  if (type === "Ed25519") return generateKeyPairSync("ed25519")
  if (type === "RSA") return generateKeyPairSync("rsa", { modulusLength: 2048 })
  return generateKeyPairSync("ec", { namedCurve: type })
}
