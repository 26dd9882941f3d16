import { promisify } from "node:util"
import { deflateRaw, inflateRaw } from "node:zlib"
import type { Compression } from "@envidence/core"

const deflate = promisify(deflateRaw)

/** Node's zlib, which unlike its DecompressionStream tells how much of the input it used. */
export const nodeCompression: Compression = {
  deflateRaw: bytes => deflate(bytes),
  inflateRaw: (bytes, maxBytes) =>
    new Promise((resolve, reject) => {
      // In one chunk, which the system hands out page by page: joining many would need the memory twice.
      const chunkSize = Math.max(64, maxBytes + 1)
      inflateRaw(bytes, { maxOutputLength: Math.max(1, maxBytes), chunkSize, info: true }, (error, result) => {
        if (error !== null) return reject(error)
        const { buffer, engine } = result as unknown as { buffer: Buffer; engine: { bytesWritten: number } }
        if (buffer.length > maxBytes) return reject(new RangeError(`expands beyond ${maxBytes} bytes`))
        // Zlib stops at the first final block and is content: what follows would be bytes that nobody looked at.
        if (engine.bytesWritten !== bytes.length)
          return reject(new Error(`the data ends ${bytes.length - engine.bytesWritten} bytes early`))
        resolve(buffer)
      })
    }),
}
