// The web standards that core may use, present in browsers and in Node. Nothing else is in scope here: no DOM, no Node,
// no network and no clock, so that the compiler keeps this package pure.
interface ByteReader {
  read(): Promise<{ done: false; value: Uint8Array } | { done: true; value?: undefined }>
  cancel(reason?: unknown): Promise<void>
}
interface ByteTransform {
  readonly readable: { getReader(): ByteReader }
  readonly writable: { getWriter(): { write(chunk: Uint8Array): Promise<void>; close(): Promise<void> } }
}
declare const crypto: {
  readonly subtle: { digest(algorithm: "SHA-256", data: Uint8Array): Promise<ArrayBuffer> }
}
declare const CompressionStream: new (format: "deflate-raw") => ByteTransform
declare const DecompressionStream: new (format: "deflate-raw") => ByteTransform
declare const TextDecoder: new (
  label: "utf-8",
  options: { fatal: boolean; ignoreBOM: boolean },
) => { decode(input: Uint8Array): string }
declare const TextEncoder: new () => { encode(input: string): Uint8Array }
declare function atob(data: string): string
declare function btoa(data: string): string
