// A registry of the test's own that can be told to do anything, on a port of this machine.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { onTestFinished } from "vitest"
import { digest, imageConfig, imageManifest, json, type Layer } from "./layers.js"

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export interface Blob {
  readonly bytes: Buffer
  readonly mediaType: string
}

export interface TestRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string
  /** Each request as `METHOD path`, with its headers. */
  readonly requests: { readonly line: string; readonly headers: IncomingMessage["headers"] }[]
  /** What is answered instead, for paths that match. */
  override(path: RegExp, answer: Answer): void
}

const MANIFEST = "application/vnd.oci.image.manifest.v1+json"
const CONFIG = "application/vnd.oci.image.config.v1+json"

/** What the registry holds of one image: by tag and digest. */
export function imageBlobs(layers: readonly Layer[]): { manifest: Buffer; config: Buffer; blobs: Map<string, Buffer> } {
  const config = json(imageConfig(layers))
  const manifest = json(imageManifest(layers, { mediaType: CONFIG, digest: digest(config), size: config.length }))
  const blobs = new Map([
    [digest(config) as string, config],
    ...layers.map(layer => [digest(layer.blob) as string, layer.blob] as const),
  ])
  return { manifest, config, blobs }
}

export async function startRegistry(
  layers: readonly Layer[],
  manifests: Readonly<Record<string, Blob>> = {},
): Promise<TestRegistry> {
  const { manifest, blobs } = imageBlobs(layers)
  const named: Record<string, Blob> = { "1": { bytes: manifest, mediaType: MANIFEST }, ...manifests }
  for (const blob of Object.values(named)) named[digest(blob.bytes)] = blob
  const overrides: [RegExp, Answer][] = []
  const requests: TestRegistry["requests"] = []
  const server = createServer((request, response) => {
    const url = request.url ?? ""
    requests.push({ line: `${request.method} ${url}`, headers: request.headers })
    const override = overrides.find(([path]) => path.test(url))
    if (override !== undefined) return override[1](request, response)
    const [, kind = "", name = ""] = /^\/v2\/x\/y\/(manifests|blobs)\/(.+)$/.exec(url) ?? []
    if (kind === "manifests") return serveManifest(named[name], response)
    if (kind === "blobs") return serveBlob(blobs.get(name), request, response)
    response.writeHead(url === "/v2/" ? 200 : 404).end()
  })
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    override: (path, answer) => overrides.unshift([path, answer]),
  }
}

function serveManifest(blob: Blob | undefined, response: ServerResponse): void {
  if (blob === undefined) response.writeHead(404).end()
  else response.writeHead(200, { "content-type": blob.mediaType }).end(blob.bytes)
}

export function serveBlob(bytes: Buffer | undefined, request: IncomingMessage, response: ServerResponse): void {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0)
  if (bytes === undefined) response.writeHead(404).end()
  else if (start === 0) response.writeHead(200, { "content-length": bytes.length }).end(bytes)
  else
    response
      .writeHead(206, {
        "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
        "content-length": bytes.length - start,
      })
      .end(bytes.subarray(start))
}
