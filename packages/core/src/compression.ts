/**
 * Raw DEFLATE (RFC 1951), injected so that core runs in browsers and on Node alike. Node passes its own zlib
 * (`@envidence/oci`), since its DecompressionStream accepts trailing bytes on some versions.
 */
export interface Compression {
  deflateRaw(bytes: Uint8Array): Promise<Uint8Array>
  /**
   * Expands `bytes` completely.
   *
   * @throws when the data is broken, when it does not end exactly at the last byte, or when it would expand beyond
   * `maxBytes`; the last by a RangeError.
   */
  inflateRaw(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array>
}

/** By the Compression Streams standard, which demands an error on trailing bytes. */
export const webCompression: Compression = {
  deflateRaw: bytes => pump(new CompressionStream("deflate-raw"), bytes, Number.POSITIVE_INFINITY),
  inflateRaw: (bytes, maxBytes) => pump(new DecompressionStream("deflate-raw"), bytes, maxBytes),
}

async function pump(transform: ByteTransform, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const writer = transform.writable.getWriter()
  const written = writer.write(bytes).then(() => writer.close())
  const reader = transform.readable.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  const collect = async () => {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      size += value.length
      if (size > maxBytes) {
        await reader.cancel()
        throw new RangeError(`expands beyond ${maxBytes} bytes`)
      }
      chunks.push(value)
    }
  }
  await Promise.all([collect(), written])
  return concatBytes(chunks, size)
}

export function concatBytes(
  chunks: readonly Uint8Array[],
  size = chunks.reduce((sum, c) => sum + c.length, 0),
): Uint8Array {
  const whole = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    whole.set(chunk, offset)
    offset += chunk.length
  }
  return whole
}
