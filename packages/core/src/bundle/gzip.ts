import { type Compression, concatBytes } from "../compression.js"
import { EvidenceError } from "../errors.js"
import { limits } from "../limits.js"

// The one header that we write and accept (RFC 1952): no flags, no name, no time, unknown system. Anything else would
// be room for bytes that nobody checks.
const HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff)
const TRAILER_BYTES = 8

export async function gzip(bytes: Uint8Array, compression: Compression): Promise<Uint8Array> {
  const trailer = new DataView(new ArrayBuffer(TRAILER_BYTES))
  trailer.setUint32(0, crc32(bytes), true)
  trailer.setUint32(4, bytes.length, true)
  return concatBytes([HEADER, await compression.deflateRaw(bytes), new Uint8Array(trailer.buffer)])
}

/**
 * Expands exactly one gzip member that spans all of `bytes`.
 *
 * @throws EvidenceError malformed-archive, limit-exceeded
 */
export async function gunzip(bytes: Uint8Array, compression: Compression): Promise<Uint8Array> {
  const broken = (why: string, cause?: unknown) => new EvidenceError("malformed-archive", `gzip: ${why}`, { cause })
  if (bytes.length < HEADER.length + TRAILER_BYTES) throw broken("too short")
  if (HEADER.some((byte, i) => bytes[i] !== byte)) throw broken("not the header that this format demands")
  const trailer = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - TRAILER_BYTES, TRAILER_BYTES)
  const size = trailer.getUint32(4, true)
  if (size > limits.unpackedBytes) throw tooLarge()
  let body: Uint8Array
  try {
    body = await compression.inflateRaw(bytes.subarray(HEADER.length, bytes.length - TRAILER_BYTES), size)
  } catch (cause) {
    throw broken(cause instanceof RangeError ? "longer than its length says" : "broken data", cause)
  }
  if (body.length !== size) throw broken("length does not match")
  if (crc32(body) !== trailer.getUint32(0, true)) throw broken("checksum does not match")
  return body
}

const tooLarge = () => new EvidenceError("limit-exceeded", `the bundle expands beyond ${limits.unpackedBytes} bytes`)

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c
})

/** CRC-32 as in RFC 1952 section 8. */
export function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff
  for (let i = 0; i < bytes.length; i++) c = (TABLE[(c ^ (bytes[i] as number)) & 0xff] as number) ^ (c >>> 8)
  return (c ^ 0xffffffff) >>> 0
}
