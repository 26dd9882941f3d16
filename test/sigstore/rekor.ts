import { createPublicKey, generateKeyPairSync, sign, verify, X509Certificate } from "node:crypto"
import { canonical, type LogIdentity, MerkleLog, sha256 } from "./merkle-log.ts"

export interface LogAuthority {
  readonly keyId: Buffer
  readonly publicKey: Buffer
  readonly keyDetails: string
}

/** A Rekor v2: entries `hashedrekord` 0.0.2, an Ed25519 key, no time of its own. */
export class RekorV2 {
  readonly authority: LogAuthority
  readonly #log: MerkleLog

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519")
    const spki = publicKey.export({ type: "spki", format: "der" })
    // C2SP signed-note: the key's name, newline, type 1, raw key.
    const keyId = sha256(`${name}\n`, Uint8Array.of(1), spki.subarray(-32))
    this.authority = { keyId, publicKey: spki, keyDetails: "PKIX_ED25519" }
    this.#log = new MerkleLog({ origin: name, name, keyId, privateKey })
    // Entry 0 is spoken for: JSON of protocol buffers leaves its index and hashes out, which some clients refuse.
    this.#log.append(Buffer.from("{}"))
  }

  create(request: string): unknown {
    const { hashedRekordRequestV002 } = JSON.parse(request)
    if (hashedRekordRequestV002 === undefined) throw new Error("invalid type, must be hashedrekord")
    const { digest, signature } = hashedRekordRequestV002
    // Node cannot verify over a ready digest; a signature that does not hold is the verifier's to find.
    if (Buffer.from(digest, "base64").length !== 32) throw new Error("the digest is not of SHA-256")
    if (!signature.content) throw new Error("no signature")
    readVerifier(signature.verifier)
    const spec = { hashedRekordV002: { data: { algorithm: "SHA2_256", digest }, signature } }
    return this.#entry(Buffer.from(canonical({ apiVersion: "0.0.2", kind: "hashedrekord", spec })))
  }

  #entry(body: Buffer): unknown {
    const { index, treeSize, rootHash, hashes, checkpoint } = this.#log.append(body)
    return {
      logIndex: `${index}`,
      logId: { keyId: this.authority.keyId.toString("base64") },
      kindVersion: { kind: "hashedrekord", version: "0.0.2" },
      integratedTime: "0",
      inclusionProof: {
        logIndex: `${index}`,
        treeSize: `${treeSize}`,
        rootHash: rootHash.toString("base64"),
        hashes: hashes.map(hash => hash.toString("base64")),
        checkpoint: { envelope: checkpoint },
      },
      canonicalizedBody: body.toString("base64"),
    }
  }
}

function readVerifier({ x509Certificate, publicKey }: Record<string, { rawBytes: string } | undefined>): void {
  if (x509Certificate) new X509Certificate(Buffer.from(x509Certificate.rawBytes, "base64"))
  else createPublicKey({ key: Buffer.from(publicKey?.rawBytes ?? "", "base64"), format: "der", type: "spki" })
}

/** A Rekor v1: entries `dsse` 0.0.1, an ECDSA key, and a signed promise with the time. */
export class RekorV1 {
  readonly authority: LogAuthority
  readonly #identity: LogIdentity
  readonly #log: MerkleLog

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
    const spki = publicKey.export({ type: "spki", format: "der" })
    this.authority = { keyId: sha256(spki), publicKey: spki, keyDetails: "PKIX_ECDSA_P256_SHA_256" }
    this.#identity = { origin: `${name} - 1`, name, keyId: this.authority.keyId, privateKey }
    this.#log = new MerkleLog(this.#identity)
    this.#log.append(Buffer.from("{}"))
  }

  create(request: string): unknown {
    const { kind, spec } = JSON.parse(request)
    if (kind !== "dsse") throw new Error(`unsupported kind ${kind}`)
    const { envelope, verifiers } = spec.proposedContent
    const body = Buffer.from(canonical(toEntry(envelope, verifiers)))
    const { index, treeSize, rootHash, hashes, checkpoint } = this.#log.append(body)
    const promised = {
      body: body.toString("base64"),
      integratedTime: Math.floor(Date.now() / 1000),
      logID: this.#identity.keyId.toString("hex"),
      logIndex: index,
    }
    const inclusionProof = {
      logIndex: index,
      treeSize,
      rootHash: rootHash.toString("hex"),
      hashes: hashes.map(hash => hash.toString("hex")),
      checkpoint,
    }
    const promise = sign("sha256", Buffer.from(canonical(promised)), this.#identity.privateKey)
    const signedEntryTimestamp = promise.toString("base64")
    return { [sha256(body).toString("hex")]: { ...promised, verification: { inclusionProof, signedEntryTimestamp } } }
  }
}

function toEntry(text: string, verifiers: readonly string[]): unknown {
  const { payload, payloadType, signatures } = JSON.parse(text)
  const [verifier] = verifiers
  if (signatures.length !== 1 || verifiers.length !== 1 || verifier === undefined) throw new Error("one signature")
  const bytes = Buffer.from(payload, "base64")
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${bytes.length} `), bytes])
  const key = createPublicKey(Buffer.from(verifier, "base64").toString())
  if (!verify("sha256", signed, key, Buffer.from(signatures[0].sig, "base64"))) throw new Error("bad signature")
  return {
    apiVersion: "0.0.1",
    kind: "dsse",
    spec: {
      envelopeHash: { algorithm: "sha256", value: sha256(text).toString("hex") },
      payloadHash: { algorithm: "sha256", value: sha256(bytes).toString("hex") },
      signatures: [{ signature: signatures[0].sig, verifier }],
    },
  }
}
