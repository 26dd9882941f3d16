import { readFile } from "node:fs/promises"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"
import { EvidenceError } from "@envidence/core"
import { keylessSigner, readTrustedRoot, type SigningServices, type TrustedRoot } from "@envidence/trust"
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { type SigstoreLab, startSigstore } from "../../../test/sigstore/start.ts"
import { parse, statement } from "./attestations.ts"

const alice = { email: "alice@example.com" }
let lab: SigstoreLab
/** A URL whose port nothing listens on any more. */
let nowhere: string
let root: TrustedRoot
let good: SigningServices
const servers: Server[] = []

beforeAll(async () => {
  lab = await startSigstore()
  root = readTrustedRoot(await readFile(lab.trustedRootFile))
  nowhere = await vacantUrl()
  good = { fulcioUrl: lab.url, rekor: [{ url: lab.url, majorApiVersion: 2 }], timestampUrls: [lab.url] }
})
afterEach(() => vi.unstubAllEnvs())
afterAll(async () => {
  for (const server of servers) server.close().closeAllConnections()
  await lab?.stop()
})

async function vacantUrl(): Promise<string> {
  const { url } = await serve(() => ({ status: 404, body: "" }))
  await new Promise(resolve => servers.pop()?.close(resolve))
  return url
}

async function serve(
  answer: (body: string) => { status: number; body: string },
): Promise<{ url: string; asked: () => number }> {
  let asked = 0
  const server = createServer(async (request, response) => {
    asked++
    let body = ""
    for await (const chunk of request) body += chunk
    const { status, body: text } = answer(body)
    response.writeHead(status, { "content-type": "application/json" }).end(text)
  })
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked }
}

async function failure(services: Partial<SigningServices>, token = lab.mintToken(alice)): Promise<EvidenceError> {
  const signer = keylessSigner({
    identityToken: token,
    services: { ...good, ...services },
    trustedRoot: root,
    timeoutMs: 2000,
    retries: 1,
  })
  const error = await signer(statement).catch((cause: unknown) => cause)
  expect(error).toBeInstanceOf(EvidenceError)
  return error as EvidenceError
}

describe("a service that fails is named, with what to do", () => {
  const cases: [name: string, named: string, services: () => Partial<SigningServices>][] = [
    ["Fulcio", "Fulcio at ", () => ({ fulcioUrl: nowhere })],
    ["Rekor v1", "Rekor at ", () => ({ rekor: [{ url: nowhere, majorApiVersion: 1 }] })],
    ["Rekor v2", "Rekor at ", () => ({ rekor: [{ url: nowhere, majorApiVersion: 2 }] })],
    ["the TSA", "the timestamp authority at ", () => ({ timestampUrls: [nowhere] })],
  ]
  test.for(cases)("%s", async ([, named, services]) => {
    const error = await failure(services())
    expect(error.code).toBe("service-failed")
    expect(error.message).toContain(`${named}${nowhere} failed: `)
    expect(error.message).toContain("ECONNREFUSED")
    expect(error.hint).toBe("the unsigned bundle is kept: run `emit-evidence sign` on it later")
  })

  test("after trying again where that may help, and not where it cannot", async () => {
    const busy = await serve(() => ({ status: 503, body: "{}" }))
    await failure({ rekor: [{ url: busy.url, majorApiVersion: 2 }] })
    expect(busy.asked()).toBe(2)
    const refusing = await serve(() => ({ status: 400, body: '{"message":"no"}' }))
    const error = await failure({ rekor: [{ url: refusing.url, majorApiVersion: 2 }] })
    expect(refusing.asked()).toBe(1)
    expect(error.message).toContain("(400)")
  })

  const answers = ["", "null", "[]", "{}", '{"signedCertificateEmbeddedSct":{"chain":{"certificates":["x"]}}}']
  test.for(answers)("a nonsensical answer %j", async body => {
    const { url } = await serve(() => ({ status: 201, body }))
    expect((await failure({ fulcioUrl: url })).code).toBe("service-failed")
    expect((await failure({ rekor: [{ url, majorApiVersion: 2 }] })).code).toBe("service-failed")
    expect((await failure({ rekor: [{ url, majorApiVersion: 1 }] })).code).toBe("service-failed")
    expect((await failure({ timestampUrls: [url] })).code).toBe("service-failed")
  })

  test("an endless answer ends at its limit", async () => {
    const { url } = await serve(() => ({ status: 201, body: "x".repeat(2_000_000) }))
    expect((await failure({ rekor: [{ url, majorApiVersion: 2 }] })).message).toContain("larger than")
  })
})

test("services without any time give nothing that could be verified", async () => {
  const error = await failure({ timestampUrls: [] })
  expect(error.code).toBe("service-failed")
  expect(error.message).toContain("neither a timestamp")
})

describe("a token never appears", () => {
  const secret = "c2VjcmV0LXRva2VuLXRoYXQtbXVzdC1ub3QtYXBwZWFy"
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const claims = { sub: "x", iss: "https://i.invalid", aud: "sigstore" }
  const tokens: Record<string, string> = {
    "that is no JWT": secret,
    "of two parts": `${secret}.${secret}`,
    "whose claims are not JSON": `${encode({ alg: "none" })}.${secret}.${secret}`,
    "whose claims are a list": `${encode({ alg: "none" })}.${encode([secret])}.${secret}`,
    "without a subject": `${encode({ alg: "none" })}.${encode({ note: secret })}.${secret}`,
    "that has expired": `${encode({ alg: "none" })}.${encode({ ...claims, exp: 1 })}.${secret}`,
    "whose email is not verified": `${encode({ alg: "none" })}.${encode({ ...claims, email: "a@b.invalid" })}.${secret}`,
  }
  test.for(Object.entries(tokens))("one %s", async ([, token]) => {
    const error = await failure({}, token)
    expect(error.code).toBe("usage")
    expectAbsent(error, token)
  })

  test("one that Fulcio refuses and quotes", async () => {
    const token = `${encode({ alg: "none" })}.${encode(claims)}.${secret}`
    const error = await failure({}, token)
    expect(error.code).toBe("service-failed")
    expect(error.message).toContain("There was an error processing the identity token [token]: bad signature")
    expectAbsent(error, token)
  })

  test("one that comes back in parts, or from a log", async () => {
    const token = lab.mintToken(alice)
    const echo = await serve(body => ({
      status: 400,
      body: JSON.stringify({ message: `bad ${token.split(".")[1]} in ${body}` }),
    }))
    expectAbsent(await failure({ fulcioUrl: echo.url }, token), token)
    const quoting = await serve(() => ({ status: 400, body: `{"message":"${token}"}` }))
    expectAbsent(await failure({ rekor: [{ url: quoting.url, majorApiVersion: 2 }] }, token), token)
  })

  test("one of the surroundings signs", async () => {
    const token = lab.mintToken(alice)
    vi.stubEnv("SIGSTORE_ID_TOKEN", token)
    const attestation = await keylessSigner({ ambient: true, services: good, trustedRoot: root })(statement)
    for (const part of token.split(".")) expect(Buffer.from(attestation).toString()).not.toContain(part)
    expect(parse(attestation).dsseEnvelope.payloadType).toBe("application/vnd.in-toto+json")
  })

  test("surroundings without one say so", async () => {
    for (const name of ["SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "BUILDKITE"]) vi.stubEnv(name, undefined)
    const signer = keylessSigner({ ambient: true, services: good, trustedRoot: root })
    await expect(signer(statement)).rejects.toMatchObject({ code: "signing-not-chosen" })
  })
})

function expectAbsent(error: EvidenceError, token: string): void {
  const everything = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error) + error.stack
  for (const part of token.split(".").filter(text => text.length >= 8)) expect(everything).not.toContain(part)
}
