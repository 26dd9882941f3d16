import { EvidenceError } from "./errors.js"

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

export const encodeUtf8 = (text: string): Uint8Array => encoder.encode(text)

/** @throws EvidenceError malformed-json where the bytes are not UTF-8. `what` names them in the message. */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  const text = tryDecodeUtf8(bytes)
  if (text === undefined) throw new EvidenceError("malformed-json", `${what} is not UTF-8`)
  return text
}

export function tryDecodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

export function bytesToHex(bytes: Uint8Array): string {
  let hex = ""
  for (const byte of bytes) hex += byte.toString(16).padStart(2, "0")
  return hex
}

export function bytesToBase64(bytes: Uint8Array): string {
  let binary = ""
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

/** @throws EvidenceError malformed-json where the text is not canonical base64 (RFC 4648 section 4, with padding). */
export function base64ToBytes(text: string, what: string): Uint8Array {
  let binary: string
  try {
    binary = atob(text)
  } catch {
    throw new EvidenceError("malformed-json", `${what} is not base64`)
  }
  if (btoa(binary) !== text) throw new EvidenceError("malformed-json", `${what} is not canonical base64`)
  return Uint8Array.from(binary, char => char.charCodeAt(0))
}

/** Order of the UTF-8 bytes of two strings, which for valid strings is the order of their code points. */
export function compareBytewise(a: string, b: string): number {
  const left = encodeUtf8(a)
  const right = encodeUtf8(b)
  const length = Math.min(left.length, right.length)
  for (let i = 0; i < length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return left.length - right.length
}
