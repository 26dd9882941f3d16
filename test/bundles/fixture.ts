// The honest bundle that each test begins from, signed by a key of this run.

import { type KeyPair, newKeyPair, signState } from "./signing.ts"
import { type BuiltState, buildState, type StateOptions } from "./state.ts"
import { writeTemporary } from "./verifying.ts"

export interface Fixture {
  readonly key: KeyPair
  readonly keyFile: string
  readonly state: BuiltState
  readonly bundle: Uint8Array
  /** What a verifier must be told to accept it. */
  readonly args: readonly string[]
}

export async function newFixture(options: StateOptions = {}): Promise<Fixture> {
  const key = newKeyPair()
  const state = await buildState(options)
  const keyFile = writeTemporary("signer.pem", key.publicKeyPem)
  const args = ["--key", keyFile, "--image-digest", state.imageDigest, "--policy", "demo"]
  return { key, keyFile, state, bundle: await signState(state, key), args }
}
