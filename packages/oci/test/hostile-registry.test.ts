// Registries that lie, stall, redirect and break off, and what a client may not do for them.

import { randomBytes } from "node:crypto"
import { writeFileSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { join } from "node:path"
import {
  inventoriesOf,
  inventoryImage,
  type OpenedImage,
  openRegistryImage,
  parseImageReference,
  type RegistryOptions,
  type RegistryReference,
} from "@envidence/oci"
import { describe, expect, it } from "vitest"
import { imageBlobs, serveBlob, startRegistry, type TestRegistry } from "./hostile-registry.js"
import { digest, json, layer, refusal, refusalCode, temporaryFolder } from "./layers.js"
import { archive, entry } from "./tar-writer.js"

const noise = randomBytes(400_000)
const layers = [
  layer(archive(entry("etc/os-release", { content: "ID=debian\n" })), "gzip", 0),
  layer(archive(entry("data", { content: noise })), "none", 1),
]
const large = digest(layers[1]?.blob ?? "")
const blobOf = (name: string) => new RegExp(`/blobs/${name}$`)
const bytesOf = (name: string) => imageBlobs(layers).blobs.get(name)

const FAST = { answer: 2000, window: 300, windowBytes: 1000, retries: 3, backoff: 5, longestWait: 3000 }

function open(registry: TestRegistry, options: Partial<RegistryOptions> = {}, name = "x/y:1"): Promise<OpenedImage> {
  const reference = parseImageReference(`${registry.host}/${name}`) as RegistryReference
  return openRegistryImage(reference, { env: { HOME: "/nonexistent" }, timing: FAST, ...options })
}

const read = async (image: OpenedImage) => inventoriesOf(await inventoryImage(image))
const openAndRead = async (registry: TestRegistry, options: Partial<RegistryOptions> = {}) =>
  read(await open(registry, options))
const count = (registry: TestRegistry, part: string) =>
  registry.requests.filter(({ line }) => line.includes(part)).length

describe("an honest registry", () => {
  it("is asked for each thing once", async () => {
    const registry = await startRegistry(layers)
    const image = await open(registry)
    expect(image.manifestDigest).toBe(digest(imageBlobs(layers).manifest))
    expect((await read(image)).map(entries => entries.length)).toEqual([1, 1])
    expect(count(registry, "/manifests/")).toBe(1)
    expect(count(registry, "/blobs/")).toBe(3)
    for (const { headers } of registry.requests) {
      expect(headers.authorization).toBeUndefined()
      expect(headers["accept-encoding"]).toBe("identity")
    }
  })
  it("is asked for the image of the platform, and attestations are none", async () => {
    const { manifest } = imageBlobs(layers)
    const mediaType = "application/vnd.oci.image.manifest.v1+json"
    const one = { mediaType, digest: digest(manifest), size: manifest.length }
    const entries = [
      { ...one, platform: { os: "linux", architecture: "amd64" } },
      { ...one, digest: digest("other"), platform: { os: "linux", architecture: "arm64", variant: "v8" } },
      { ...one, digest: digest("proof"), platform: { os: "unknown", architecture: "unknown" } },
    ]
    const bytes = json({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: entries })
    const registry = await startRegistry(layers, {
      many: { bytes, mediaType: "application/vnd.oci.image.index.v1+json" },
      lie: { bytes: Buffer.concat([bytes, Buffer.from(" ")]), mediaType },
      attestation: {
        bytes: json({ schemaVersion: 2, manifests: [] }),
        mediaType: "application/vnd.docker.distribution.manifest.v1+prettyjws",
      },
    })
    const image = await open(registry, { platforms: ["linux/amd64"] }, "x/y:many")
    expect(image.index).toMatchObject({ digest: digest(bytes), platforms: ["linux/amd64", "linux/arm64/v8"] })
    expect(
      (await open(registry, { platforms: ["linux/s390x", "linux/amd64"] }, `x/y@${digest(bytes)}`)).manifestDigest,
    ).toBe(one.digest)
    expect(await refusalCode(open(registry, { platforms: ["linux/s390x"] }, "x/y:many"))).toBe("input-not-found")
    expect(await refusalCode(open(registry, { platforms: ["linux/arm64"] }, "x/y:many"))).toBe("input-not-found")
    expect(await refusalCode(open(registry, {}, "x/y:lie"))).toBe("malformed-image")
    expect(await refusalCode(open(registry, {}, "x/y:attestation"))).toBe("malformed-image")
    expect(await refusalCode(open(registry, {}, "x/y:none"))).toBe("input-not-found")
  })
})

describe("a registry that lies", () => {
  const falsified = (change: (bytes: Buffer) => Buffer) => async () => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), (request, response) =>
      serveBlob(change(Buffer.from(bytesOf(large) ?? "")), request, response),
    )
    return refusal(openAndRead(registry))
  }
  it("about a layer's content", async () => {
    const error = await falsified(bytes => {
      bytes.writeUInt8(bytes.readUInt8(1000) ^ 1, 1000)
      return bytes
    })()
    expect(error.code).toBe("digest-mismatch")
  })
  it("about a layer's length", async () => {
    expect((await falsified(bytes => bytes.subarray(1))()).code).toBe("digest-mismatch")
    expect((await falsified(bytes => Buffer.concat([bytes, bytes]))()).code).toBe("digest-mismatch")
  })
  it("by a layer without end", async () => {
    const registry = await startRegistry(layers)
    let sent = 0
    registry.override(blobOf(large), (_, response) => {
      response.writeHead(200)
      const more = () => {
        while (response.writable && !response.destroyed) {
          sent += 65_536
          if (!response.write(Buffer.alloc(65_536))) break
        }
        if (!response.destroyed) response.once("drain", more)
      }
      more()
    })
    expect(["digest-mismatch", "malformed-image"]).toContain(await refusalCode(openAndRead(registry)))
    expect(sent).toBeLessThan(50_000_000)
  })
  it("about its manifest", async () => {
    const registry = await startRegistry(layers)
    const { manifest } = imageBlobs(layers)
    registry.override(/\/manifests\//, (_, response) => {
      response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" })
      response.end(Buffer.concat([manifest, Buffer.from(" ")]))
    })
    expect(await refusalCode(open(registry, {}, `x/y@${digest(manifest)}`))).toBe("digest-mismatch")
    registry.override(/\/manifests\//, (_, response) => {
      response.writeHead(200, {
        "content-type": "application/vnd.oci.image.manifest.v1+json",
        "docker-content-digest": digest("other"),
      })
      response.end(manifest)
    })
    expect(await refusalCode(open(registry))).toBe("digest-mismatch")
  })
  it("about its config", async () => {
    const registry = await startRegistry(layers)
    const { config } = imageBlobs(layers)
    registry.override(blobOf(digest(config)), (_, response) => {
      response.end(Buffer.from(config.toString().replace("1000", "1001")))
    })
    expect(await refusalCode(open(registry))).toBe("digest-mismatch")
  })
  it("by a manifest without end", async () => {
    const registry = await startRegistry(layers)
    registry.override(/\/manifests\//, (_, response) => response.end(Buffer.alloc(5_000_000, " ")))
    expect(await refusalCode(open(registry))).toBe("limit-exceeded")
  })
  it("by bytes that are compressed once more", async () => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), (_, response) => {
      response.writeHead(200, { "content-encoding": "br" }).end(bytesOf(large))
    })
    expect((await refusal(openAndRead(registry))).exitCode).toBe(1)
  })
  it("by a layer that is not there", async () => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), (_, response) => response.writeHead(404).end())
    expect(await refusalCode(openAndRead(registry))).toBe("malformed-image")
  })
})

/** Sends from the range that was asked for, `bytes` of it, and breaks the connection. */
function sendPiece(response: ServerResponse, range: string | undefined, bytes: number): void {
  const whole = bytesOf(large) ?? Buffer.alloc(0)
  const start = Number(/\d+/.exec(range ?? "")?.[0] ?? 0)
  const head = { "content-length": whole.length - start }
  const status = start === 0 ? 200 : 206
  response.writeHead(status, {
    ...head,
    ...(start === 0 ? {} : { "content-range": `bytes ${start}-${whole.length - 1}/${whole.length}` }),
  })
  response.write(whole.subarray(start, start + bytes), () => setTimeout(() => response.destroy(), 20))
}

describe("a connection that breaks", () => {
  it("is resumed from where it broke", async () => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), (request, response) => sendPiece(response, request.headers.range, 150_000))
    expect(await openAndRead(registry)).toHaveLength(2)
    const ranges = registry.requests.filter(({ line }) => line.includes(large)).map(({ headers }) => headers.range)
    expect(ranges[0]).toBeUndefined()
    expect(ranges.slice(1).every(range => /^bytes=[1-9]\d*-$/.test(range ?? ""))).toBe(true)
  })
  it("is resumed where ranges are ignored", async () => {
    const registry = await startRegistry(layers)
    let times = 0
    registry.override(blobOf(large), (_, response) => {
      if (times++ === 0) sendPiece(response, undefined, 150_000)
      else response.writeHead(200).end(bytesOf(large))
    })
    expect(await openAndRead(registry)).toHaveLength(2)
    expect(times).toBe(2)
  })
  it("is given up after a few times, also where each brings a little", async () => {
    for (const bytes of [0, 10]) {
      const registry = await startRegistry(layers)
      registry.override(blobOf(large), (request, response) => sendPiece(response, request.headers.range, bytes))
      const error = await refusal(openAndRead(registry))
      expect([error.code, count(registry, large)]).toEqual(["registry-failed", FAST.retries + 1])
    }
  })
  it("is not resumed with another range than was asked for", async () => {
    const registry = await startRegistry(layers)
    let times = 0
    registry.override(blobOf(large), (_, response) => {
      if (times++ === 0) sendPiece(response, undefined, 150_000)
      else response.writeHead(206, { "content-range": "bytes 399999-400000/400001" }).end("xx")
    })
    expect(await refusalCode(openAndRead(registry))).toBe("registry-failed")
  })
})

describe("a registry that stalls", () => {
  it("with its answer", async () => {
    const registry = await startRegistry(layers)
    registry.override(/\/manifests\//, () => {})
    const timing = { ...FAST, answer: 100, retries: 1 }
    expect(await refusalCode(open(registry, { timing }))).toBe("registry-failed")
  })
  it("in the middle of a manifest", async () => {
    const registry = await startRegistry(layers)
    registry.override(/\/manifests\//, (_, response) => response.write("{"))
    expect(await refusalCode(open(registry, { timing: { ...FAST, answer: 100, retries: 1 } }))).toBe("registry-failed")
  })
  it("in the middle of a token server's answer", async () => {
    const registry = await startRegistry(layers)
    registry.override(/./, (_, response) => {
      response.writeHead(401, { "www-authenticate": `Bearer realm="http://${registry.host}/token"` }).end()
    })
    registry.override(/^\/token/, (_, response) => response.write("{"))
    expect(await refusalCode(open(registry, { timing: { ...FAST, answer: 100, retries: 1 } }))).toBe("registry-failed")
  })
  it("byte by byte", async () => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), (_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write("x"), 20)
      response.on("close", () => clearInterval(timer))
    })
    const began = performance.now()
    expect(await refusalCode(openAndRead(registry, { timing: { ...FAST, retries: 1 } }))).toBe("registry-failed")
    expect(performance.now() - began).toBeLessThan(5000)
  })
  it("is left at once by who has read enough", async () => {
    const registry = await startRegistry(layers)
    const left = new Promise<number>(resolve => {
      registry.override(blobOf(large), (_, response) => {
        response.writeHead(200).write("x")
        response.on("close", () => resolve(performance.now()))
      })
    })
    const image = await open(registry, { timing: { ...FAST, window: 60_000 } })
    const stream = await image.blobs.open(image.layers[1]?.descriptor ?? expect.unreachable(), "layer 1")
    stream.once("data", () => setTimeout(() => stream.destroy(), 50))
    const began = performance.now()
    expect((await left) - began).toBeLessThan(2000)
  })
  it("until the user has enough", async () => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), (_, response) => response.writeHead(200).write("x"))
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 100)
    const timing = { ...FAST, window: 60_000 }
    expect(await refusalCode(openAndRead(registry, { timing, signal: controller.signal }))).toBe("interrupted")
  })
})

describe("a registry that is busy", () => {
  it("is asked again when it says", async () => {
    const registry = await startRegistry(layers)
    const times: number[] = []
    registry.override(/\/manifests\//, (_, response) => {
      times.push(performance.now())
      if (times.length > 1) response.end(imageBlobs(layers).manifest)
      else response.writeHead(429, { "retry-after": "1" }).end()
    })
    expect(await openAndRead(registry)).toHaveLength(2)
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(950)
  })
  it("is not waited for beyond reason", async () => {
    for (const wait of ["86400", new Date(Date.now() + 86_400_000).toUTCString()]) {
      const registry = await startRegistry(layers)
      registry.override(/\/manifests\//, (_, response) => response.writeHead(503, { "retry-after": wait }).end())
      const error = await refusal(open(registry))
      expect([error.code, count(registry, "manifests")]).toEqual(["registry-failed", 1])
    }
  })
  it("or fails is given up after a few times", async () => {
    for (const status of [429, 500, 502]) {
      const registry = await startRegistry(layers)
      registry.override(/\/manifests\//, (_, response) => response.writeHead(status).end("<html>"))
      expect([await refusalCode(open(registry)), count(registry, "manifests")]).toEqual([
        "registry-failed",
        FAST.retries + 1,
      ])
    }
  })
})

describe("a redirect", () => {
  const redirect = (location: string) => (_: unknown, response: ServerResponse) =>
    response.writeHead(307, { location }).end("x")
  const SECRET = "s3cret"
  const loggedIn = (registry: TestRegistry): RegistryOptions["env"] => {
    const folder = temporaryFolder()
    const auth = Buffer.from(`alice:${SECRET}`).toString("base64")
    writeFileSync(join(folder, "auth.json"), JSON.stringify({ auths: { [registry.host]: { auth } } }))
    return { HOME: "/nonexistent", REGISTRY_AUTH_FILE: join(folder, "auth.json") }
  }
  const demandPassword = (registry: TestRegistry) =>
    registry.override(/^\/v2\/x/, (request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end()
      else {
        const { pathname } = new URL(request.url ?? "", "http://x")
        const name = pathname.split("/").at(-1) ?? ""
        if (pathname.includes("/manifests/")) response.end(imageBlobs(layers).manifest)
        else serveBlob(imageBlobs(layers).blobs.get(name), request, response)
      }
    })

  it("of a layer is followed, without the user's password", async () => {
    const registry = await startRegistry(layers)
    const elsewhere = await startRegistry(layers)
    demandPassword(registry)
    registry.override(blobOf(large), redirect(`http://${elsewhere.host}/v2/x/y/blobs/${large}?signature=abc`))
    elsewhere.override(/signature=abc/, (request, response) => serveBlob(bytesOf(large), request, response))
    expect(await openAndRead(registry, { env: loggedIn(registry) })).toHaveLength(2)
    expect(registry.requests.some(({ headers }) => headers.authorization?.startsWith("Basic "))).toBe(true)
    expect(elsewhere.requests.map(({ headers }) => headers.authorization)).toEqual([undefined])
  })
  it("of a layer's rest is followed as well", async () => {
    const registry = await startRegistry(layers)
    const elsewhere = await startRegistry(layers)
    registry.override(blobOf(large), redirect(`http://${elsewhere.host}/blobs/${large}`))
    elsewhere.override(/blobs/, (request, response) => sendPiece(response, request.headers.range, 150_000))
    expect(await openAndRead(registry)).toHaveLength(2)
    expect(elsewhere.requests.at(-1)?.headers.range).toMatch(/^bytes=[1-9]/)
  })
  it("of a manifest is not", async () => {
    const registry = await startRegistry(layers)
    const elsewhere = await startRegistry(layers)
    registry.override(/\/manifests\//, redirect(`http://${elsewhere.host}/v2/x/y/manifests/1`))
    expect(await refusalCode(open(registry))).toBe("registry-failed")
    expect(elsewhere.requests).toEqual([])
  })
  const forbidden = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "data:text/plain,x",
    "http://example.com/x",
    "http://169.254.169.254/latest/meta-data",
    "http://user:password@127.0.0.1/x",
    "http://[",
    "",
  ]
  it.each(forbidden)("to %j is not", async location => {
    const registry = await startRegistry(layers)
    registry.override(blobOf(large), redirect(location))
    const error = await refusal(openAndRead(registry))
    expect([error.code, count(registry, large)]).toEqual(["registry-failed", location === "" ? 6 : 1])
    expect(error.message).not.toContain("password")
  })
  it("in a circle is left", async () => {
    const registry = await startRegistry(layers)
    const elsewhere = await startRegistry(layers)
    registry.override(blobOf(large), redirect(`http://${elsewhere.host}/loop`))
    elsewhere.override(/loop/, redirect(`http://${elsewhere.host}/loop`))
    expect(await refusalCode(openAndRead(registry))).toBe("registry-failed")
    expect(elsewhere.requests).toHaveLength(5)
  })

  it("of the password to another token server than https allows is not", async () => {
    for (const realm of ["http://example.com/token", "file:///etc/passwd", "no address"]) {
      const registry = await startRegistry(layers)
      registry.override(/./, (_, response) =>
        response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}"` }).end(),
      )
      const error = await refusal(open(registry, { env: loggedIn(registry) }))
      expect([error.code, registry.requests.length <= 3]).toEqual(["registry-failed", true])
    }
  })
  it("of a token server's answer is not followed", async () => {
    const registry = await startRegistry(layers)
    const elsewhere = await startRegistry(layers)
    registry.override(/./, (_, response) =>
      response.writeHead(401, { "www-authenticate": `Bearer realm="http://${registry.host}/token"` }).end(),
    )
    registry.override(/^\/token/, redirect(`http://${elsewhere.host}/token`))
    expect(await refusalCode(open(registry, { env: loggedIn(registry) }))).toBe("registry-failed")
    expect(elsewhere.requests).toEqual([])
  })
  it("a password that is not accepted is not tried for ever, nor said", async () => {
    const registry = await startRegistry(layers)
    registry.override(/./, (_, response) =>
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end(SECRET),
    )
    const error = await refusal(open(registry, { env: loggedIn(registry) }))
    expect(error.code).toBe("registry-failed")
    expect(registry.requests.length).toBeLessThan(5)
    expect(`${error.message}${error.hint}${error.stack}`).not.toMatch(/s3cret|YWxpY2U/)
  })
  it("challenges of any form end", async () => {
    for (const challenge of [
      "",
      "Negotiate",
      "Bearer",
      `Bearer ${"a=a,".repeat(20_000)}`,
      `Basic ${'x="\\'.repeat(5000)}`,
    ]) {
      const registry = await startRegistry(layers)
      registry.override(/./, (_, response) => {
        response.writeHead(401, { "www-authenticate": challenge.slice(0, 12_000) }).end()
      })
      expect(await refusalCode(open(registry))).toBe("registry-failed")
    }
  })
})

describe("a registry elsewhere", () => {
  const asked: string[] = []
  const send: typeof fetch = async input => {
    asked.push(String(input))
    return new Response(null, { status: 404 })
  }
  it("is asked by https, and Docker Hub where it answers", async () => {
    const ask = (text: string) =>
      refusalCode(openRegistryImage(parseImageReference(text) as RegistryReference, { env: {}, fetch: send }))
    expect(await ask("python:3.12")).toBe("input-not-found")
    expect(await ask("ghcr.io/a/b:1")).toBe("input-not-found")
    expect(await ask("example.com:80/a:1")).toBe("input-not-found")
    expect(asked).toEqual([
      "https://registry-1.docker.io/v2/library/python/manifests/3.12",
      "https://ghcr.io/v2/a/b/manifests/1",
      "https://example.com:80/v2/a/manifests/1",
    ])
  })
  it("may send nobody to this machine's own services", async () => {
    const { manifest, config } = imageBlobs(layers)
    const locations: string[] = []
    const remote: typeof fetch = async input => {
      const url = new URL(String(input))
      if (url.hostname !== "example.com") locations.push(url.href)
      if (url.pathname.includes("/manifests/")) return new Response(new Uint8Array(manifest))
      if (url.pathname.includes(digest(config))) return new Response(new Uint8Array(config))
      return new Response(null, { status: 307, headers: { location: "https://127.0.0.1:8443/admin" } })
    }
    const image = await openRegistryImage(parseImageReference("example.com/x/y:1") as RegistryReference, {
      env: {},
      fetch: remote,
    })
    expect(await refusalCode(read(image))).toBe("registry-failed")
    expect(locations).toEqual([])
  })
})
