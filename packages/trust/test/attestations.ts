import type { Authenticator, EvidenceError } from "@envidence/core"
import { expect } from "vitest"

/** A small in-toto statement's bytes. */
export const statement = Buffer.from(
  JSON.stringify({
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ name: "image", digest: { sha256: "ab".repeat(32) } }],
    predicateType: "https://envidence.dev/evidence/v1",
    predicate: { note: "é" },
  }),
)

// biome-ignore lint/suspicious/noExplicitAny: tests break bundles at any place, and a typed bundle would forbid it.
export type LooseJson = any

export const parse = (attestation: Uint8Array): LooseJson => JSON.parse(Buffer.from(attestation).toString())

/** The attestation with a change to its JSON. */
export function altered(attestation: Uint8Array, change: (bundle: LooseJson) => void): Uint8Array {
  const bundle = parse(attestation)
  change(bundle)
  return Buffer.from(JSON.stringify(bundle))
}

/** The base64 of the same bytes but for one bit of one byte. */
export function flipped(base64: string, at = 20): string {
  const bytes = Buffer.from(base64, "base64")
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  return bytes.toString("base64")
}

/** The error that the authenticator must throw. */
export async function refusal(authenticate: Authenticator, attestation: Uint8Array): Promise<EvidenceError> {
  const error = await authenticate(attestation).then(
    () => undefined,
    (cause: unknown) => cause,
  )
  expect(error).toMatchObject({ name: "EvidenceError" })
  return error as EvidenceError
}
