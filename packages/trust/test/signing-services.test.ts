import { readSigningConfig, servicesFromUrls } from "@envidence/trust"
import { describe, expect, test } from "vitest"

const now = new Date("2026-06-01T00:00:00Z")
const since = (start: string, end?: string) => ({ validFor: { start, ...(end && { end }) } })
const service = (url: string, operator = "a", majorApiVersion = 1, valid = since("2026-01-01T00:00:00Z")) => ({
  url,
  operator,
  majorApiVersion,
  ...valid,
})

const config = {
  mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
  caUrls: [service("https://fulcio.invalid/")],
  oidcUrls: [],
  rekorTlogUrls: [service("https://rekor.invalid")],
  rekorTlogConfig: { selector: "ANY" },
  tsaUrls: [service("https://tsa.invalid/api/v1/timestamp")],
  tsaConfig: { selector: "ANY" },
}

const read = (changes: object = {}) => readSigningConfig(Buffer.from(JSON.stringify({ ...config, ...changes })), now)

test("a signing configuration names the services", () => {
  expect(read()).toEqual({
    fulcioUrl: "https://fulcio.invalid",
    rekor: [{ url: "https://rekor.invalid", majorApiVersion: 1 }],
    timestampUrls: ["https://tsa.invalid/api/v1/timestamp"],
  })
})

describe("of several services", () => {
  const urls = (rekorTlogUrls: object[], rekorTlogConfig: object = { selector: "ANY" }) =>
    read({ rekorTlogUrls, rekorTlogConfig }).rekor.map(rekor => rekor.url)

  test("the highest API version that we speak is taken", () => {
    const services = [
      service("https://1.invalid"),
      service("https://3.invalid", "a", 3),
      service("https://2.invalid", "a", 2),
    ]
    expect(read({ rekorTlogUrls: services }).rekor).toEqual([{ url: "https://2.invalid", majorApiVersion: 2 }])
  })

  test("the newest valid one is taken", () => {
    const services = [
      service("https://old.invalid", "a", 1, since("2025-01-01T00:00:00Z")),
      service("https://ended.invalid", "a", 1, since("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")),
      service("https://future.invalid", "a", 1, since("2027-01-01T00:00:00Z")),
      service("https://new.invalid", "a", 1, since("2026-03-01T00:00:00Z")),
    ]
    expect(urls(services)).toEqual(["https://new.invalid"])
  })

  test("as many operators are taken as the selector says, one service each", () => {
    const services = [service("https://a.invalid"), service("https://a2.invalid"), service("https://b.invalid", "b")]
    expect(urls(services, { selector: "ALL" })).toEqual(["https://a.invalid", "https://b.invalid"])
    expect(urls(services, { selector: "EXACT", count: 2 })).toEqual(["https://a.invalid", "https://b.invalid"])
    expect(() => urls(services, { selector: "EXACT", count: 3 })).toThrow("names fewer")
  })
})

describe("a configuration is refused", () => {
  const cases: [name: string, changes: object][] = [
    ["of version 0.1", { mediaType: "application/vnd.dev.sigstore.signingconfig.v0.1+json" }],
    ["without Fulcio", { caUrls: [] }],
    ["without Rekor", { rekorTlogUrls: [] }],
    ["with a selector that nobody knows", { rekorTlogConfig: {} }],
    ["with plain http", { caUrls: [service("http://fulcio.invalid")] }],
    ["with a password in a URL", { caUrls: [service("https://user:pass@fulcio.invalid")] }],
    ["with a file", { caUrls: [service("file:///etc/passwd")] }],
  ]
  test.for(cases)("%s", ([, changes]) => {
    expect(() => read(changes)).toThrow(expect.objectContaining({ code: "usage" }))
  })
})

test("URLs replace the public-good services one by one", () => {
  expect(servicesFromUrls({})).toEqual({
    fulcioUrl: "https://fulcio.sigstore.dev",
    rekor: [{ url: "https://rekor.sigstore.dev", majorApiVersion: 1 }],
    timestampUrls: [],
  })
  expect(servicesFromUrls({ rekorUrl: "http://127.0.0.1:3000/", timestampServerUrl: "https://t.invalid" })).toEqual({
    fulcioUrl: "https://fulcio.sigstore.dev",
    rekor: [{ url: "http://127.0.0.1:3000", majorApiVersion: 1 }],
    timestampUrls: ["https://t.invalid"],
  })
})
