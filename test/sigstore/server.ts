// A throw-away Sigstore on loopback: Fulcio, certificate transparency log, Rekor v1 and v2, timestamp authority.
//
// A process of its own, because @sigstore/mock takes over the HTTP client of the process that imports it. Keys are
// fresh for every start and live in memory. It prints one line of JSON when it is ready, and ends on SIGTERM or as soon
// as its standard input closes, so that it cannot outlive who started it.
import { generateKeyPairSync, randomBytes } from "node:crypto"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { initializeCTLog, initializeTSA, tsaHandler } from "@sigstore/mock"
import { Fulcio } from "./fulcio.ts"
import { sha256 } from "./merkle-log.ts"
import { type LogAuthority, RekorV1, RekorV2 } from "./rekor.ts"

const HOST = "127.0.0.1"
const BODY_BYTES = 32_000_000

const ecKeys = () => generateKeyPairSync("ec", { namedCurve: "prime256v1" })

const lab = randomBytes(4).toString("hex")
const tokenSecret = randomBytes(32).toString("hex")
const ctLog = await initializeCTLog(ecKeys())
const fulcio = await Fulcio.start(`CN=fulcio,O=sigstore lab ${lab}`, ctLog, tokenSecret)
// The mock drops zeros at the end of milliseconds, which @sigstore/core then cannot read: whole seconds, as real ones.
const tsaClock = new Date()
const tsa = await initializeTSA(ecKeys(), tsaClock)
const rekorV1 = new RekorV1(HOST)
const rekorV2 = new RekorV2(HOST)

interface Answer {
  readonly status: number
  readonly body: string | Uint8Array
}

const created = (value: unknown): Answer => ({ status: 201, body: JSON.stringify(value) })

const routes: Readonly<Record<string, (body: string) => Promise<Answer> | Answer>> = {
  "/api/v2/signingCert": async body => created(await fulcio.create(body)),
  "/api/v1/log/entries": body => created(rekorV1.create(body)),
  "/api/v2/log/entries": body => created(rekorV2.create(body)),
  "/api/v1/timestamp": async body => {
    tsaClock.setTime(Math.floor(Date.now() / 1000) * 1000)
    const { statusCode, response } = await tsaHandler(tsa).fn(body)
    return {
      status: statusCode,
      body:
        typeof response === "string"
          ? response
          : new Uint8Array(response.buffer, response.byteOffset, response.byteLength),
    }
  },
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > BODY_BYTES) throw new Error("the request is too large")
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

async function answer(request: IncomingMessage): Promise<Answer> {
  const route = request.method === "POST" ? routes[request.url ?? ""] : undefined
  if (route === undefined) return { status: 404, body: JSON.stringify({ message: "not found" }) }
  try {
    return await route(await read(request))
  } catch (cause) {
    return {
      status: 400,
      body: JSON.stringify({ code: 400, message: cause instanceof Error ? cause.message : "refused" }),
    }
  }
}

const server = createServer(async (request, response) => {
  const { status, body } = await answer(request)
  const type = typeof body === "string" ? "application/json" : "application/timestamp-reply"
  response.writeHead(status, { "content-type": type }).end(body)
})

const base64 = (bytes: ArrayBufferView | ArrayBuffer) =>
  (ArrayBuffer.isView(bytes)
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : Buffer.from(bytes)
  ).toString("base64")

const validFor = { start: new Date(Date.now() - 3_600_000).toISOString() }

function trustedRoot(url: string): unknown {
  const log = ({ keyId, publicKey, keyDetails }: LogAuthority) => ({
    baseUrl: url,
    hashAlgorithm: "SHA2_256",
    publicKey: { rawBytes: base64(publicKey), keyDetails, validFor },
    logId: { keyId: base64(keyId) },
  })
  const authority = (commonName: string, chain: readonly (ArrayBufferView | ArrayBuffer)[]) => ({
    subject: { organization: `sigstore lab ${lab}`, commonName },
    uri: url,
    certChain: { certificates: chain.map(certificate => ({ rawBytes: base64(certificate) })) },
    validFor,
  })
  const ct = { keyId: sha256(ctLog.publicKey), publicKey: ctLog.publicKey, keyDetails: "PKIX_ECDSA_P256_SHA_256" }
  return {
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [log(rekorV1.authority), log(rekorV2.authority)],
    certificateAuthorities: [authority("fulcio", [fulcio.root.rawData])],
    ctlogs: [log(ct)],
    timestampAuthorities: [authority("tsa", [tsa.intCertificate, tsa.rootCertificate])],
  }
}

function signingConfig(url: string, rekorApiVersion: 1 | 2): unknown {
  const service = (address: string, majorApiVersion: number) => [
    { url: address, majorApiVersion, validFor, operator: "lab" },
  ]
  return {
    mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    caUrls: service(url, 1),
    oidcUrls: [],
    rekorTlogUrls: service(url, rekorApiVersion),
    rekorTlogConfig: { selector: "ANY" },
    tsaUrls: service(`${url}/api/v1/timestamp`, 1),
    tsaConfig: { selector: "ANY" },
  }
}

function stop(): void {
  server.close()
  server.closeAllConnections()
  process.exit(0)
}

process.on("SIGTERM", stop)
process.stdin.on("close", stop).on("end", stop).resume()

server.listen(0, HOST, () => {
  const { port } = server.address() as AddressInfo
  const url = `http://${HOST}:${port}`
  const signingConfigs = { v1: signingConfig(url, 1), v2: signingConfig(url, 2) }
  console.log(JSON.stringify({ url, trustedRoot: trustedRoot(url), signingConfigs, tokenSecret }))
})
