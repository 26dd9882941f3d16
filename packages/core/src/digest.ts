import { bytesToHex } from "./encoding.js"

/** `sha256:` and 64 lower-case hexadecimal digits, as in the OCI image specification 1.1 ("Digests"). */
export type Digest = `sha256:${string}`

const DIGEST = /^sha256:[0-9a-f]{64}$/

export const isDigest = (text: string): text is Digest => DIGEST.test(text)

export const digestOfHex = (hex: string): Digest => `sha256:${hex}`

export const hexOfDigest = (digest: Digest): string => digest.slice("sha256:".length)

/** SHA-256 as 64 lower-case hexadecimal digits. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return bytesToHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)))
}

export async function sha256Digest(bytes: Uint8Array): Promise<Digest> {
  return digestOfHex(await sha256Hex(bytes))
}
