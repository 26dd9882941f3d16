import { createHash, type KeyObject, sign } from "node:crypto"

export const sha256 = (...parts: (Uint8Array | string)[]): Buffer => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** Canonical JSON for what the logs sign: no numbers but integers, no undefined. */
export const canonical = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(",")}}`
}

export interface Inclusion {
  readonly index: number
  readonly treeSize: number
  readonly rootHash: Buffer
  readonly hashes: readonly Buffer[]
  /** A signed note (C2SP signed-note and tlog-checkpoint). */
  readonly checkpoint: string
}

export interface LogIdentity {
  /** First line of a checkpoint. */
  readonly origin: string
  /** Name in the checkpoint's signature line; a verifier looks for it in the log's base URL. */
  readonly name: string
  readonly keyId: Buffer
  readonly privateKey: KeyObject
}

/** A Merkle tree log (RFC 6962 section 2) in memory. */
export class MerkleLog {
  readonly #identity: LogIdentity
  readonly #leaves: Buffer[] = []

  constructor(identity: LogIdentity) {
    this.#identity = identity
  }

  append(body: Uint8Array): Inclusion {
    const index = this.#leaves.push(leafHash(body)) - 1
    const rootHash = treeHash(this.#leaves)
    return {
      index,
      treeSize: this.#leaves.length,
      rootHash,
      hashes: auditPath(index, this.#leaves),
      checkpoint: this.#checkpoint(rootHash),
    }
  }

  #checkpoint(rootHash: Buffer): string {
    const { origin, name, keyId, privateKey } = this.#identity
    const note = `${origin}\n${this.#leaves.length}\n${rootHash.toString("base64")}\n`
    const algorithm = privateKey.asymmetricKeyType === "ed25519" ? null : "sha256"
    const signature = Buffer.concat([keyId.subarray(0, 4), sign(algorithm, Buffer.from(note), privateKey)])
    return `${note}\n— ${name} ${signature.toString("base64")}\n`
  }
}

const leafHash = (body: Uint8Array) => sha256(Uint8Array.of(0), body)
const nodeHash = (left: Uint8Array, right: Uint8Array) => sha256(Uint8Array.of(1), left, right)

// The largest power of two below the size.
const split = (size: number) => 2 ** Math.floor(Math.log2(size - 1))

function treeHash(leaves: readonly Buffer[]): Buffer {
  const [only] = leaves
  if (only === undefined) return sha256()
  if (leaves.length === 1) return only
  const k = split(leaves.length)
  return nodeHash(treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)))
}

function auditPath(index: number, leaves: readonly Buffer[]): Buffer[] {
  if (leaves.length <= 1) return []
  const k = split(leaves.length)
  return index < k
    ? [...auditPath(index, leaves.slice(0, k)), treeHash(leaves.slice(k))]
    : [...auditPath(index - k, leaves.slice(k)), treeHash(leaves.slice(0, k))]
}
