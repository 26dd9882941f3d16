import { describeReference, namesImage, parseImageReference, sameRepositoryTag } from "@envidence/oci"
import { describe, expect, it } from "vitest"
import { refusalCode } from "./layers.js"

const digest = `sha256:${"ab".repeat(32)}`
const parse = (text: string) => parseImageReference(text)

describe("an image on this machine", () => {
  const forms: [string, object][] = [
    ["oci:/a/b", { kind: "oci", directory: "/a/b", selector: null }],
    ["oci:a:v1.2", { kind: "oci", directory: "a", selector: { name: "v1.2" } }],
    ["oci:a:example.com/x/y:1", { kind: "oci", directory: "a", selector: { name: "example.com/x/y:1" } }],
    [`oci:a@b@${digest}`, { kind: "oci", directory: "a@b", selector: { digest } }],
    ["oci-archive:a.tar", { kind: "oci-archive", file: "a.tar", selector: null }],
    [`oci-archive:a.tar@${digest}`, { kind: "oci-archive", file: "a.tar", selector: { digest } }],
    ["docker-archive:/tmp/a b.tar", { kind: "docker-archive", file: "/tmp/a b.tar", name: null }],
    ["docker-archive:a.tar:x/y:1", { kind: "docker-archive", file: "a.tar", name: "x/y:1" }],
    ["podman:localhost/x:1", { kind: "podman", name: "localhost/x:1" }],
    ["docker:0123456789ab", { kind: "docker", name: "0123456789ab" }],
  ]
  it.each(forms)("%s", (text, expected) => {
    expect(parse(text)).toEqual(expected)
    expect(describeReference(parse(text))).toBe(text)
  })
})

describe("an image in a registry", () => {
  const forms: [string, string][] = [
    ["python", "docker.io/library/python:latest"],
    ["python:3.12-slim", "docker.io/library/python:3.12-slim"],
    ["me/env", "docker.io/me/env:latest"],
    ["docker.io/python", "docker.io/library/python:latest"],
    ["index.docker.io/me/env:1", "docker.io/me/env:1"],
    [`me/env@${digest}`, `docker.io/me/env@${digest}`],
    [`me/env:1@${digest}`, `docker.io/me/env@${digest}`],
    ["ghcr.io/a/b__c/d-e.f:V1", "ghcr.io/a/b__c/d-e.f:V1"],
    ["localhost/x", "localhost/x:latest"],
    ["localhost:5000/x", "localhost:5000/x:latest"],
    ["127.0.0.1:5000/x/y:1", "127.0.0.1:5000/x/y:1"],
    ["[::1]:5000/x:1", "[::1]:5000/x:1"],
    ["Registry/x:1", "Registry/x:1"],
  ]
  it.each(forms)("%s", (text, whole) => {
    expect(describeReference(parse(text))).toBe(whole)
    expect(parse(whole)).toEqual(parse(text))
  })
})

describe("what names no image", () => {
  const forms = [
    "",
    "oci:",
    "oci::x",
    "oci:a:",
    "oci:a:x y",
    `oci:a@${digest.toUpperCase().replace("SHA", "sha")}`,
    `oci:a@sha512:${"0".repeat(128)}`,
    "oci-archive:",
    "docker-archive:",
    "docker-archive:a.tar:X/Y",
    "podman:",
    "podman:-x",
    "podman:a b",
    "podman:../x",
    "docker:a?b=c",
    "dir:/tmp/x",
    "docker://python",
    "https://example.com/x",
    "Python",
    "a/Python",
    "python:",
    "python:-x",
    `python:${"x".repeat(129)}`,
    "python@sha256:abc",
    `python@${digest}@${digest}`,
    "a//b",
    "a/../b",
    "-/b",
    "example.com/",
    "example.com:99999/x",
    "exa_mple.com/x",
    "user:password@example.com/x",
    "ab".repeat(32),
    "py\u0000thon",
    "py\nthon",
    `a/${"b".repeat(500)}`,
  ]
  it.each(forms)("%j", async text => {
    expect(await refusalCode(new Promise(resolve => resolve(parse(text))))).toBe("usage")
  })
  it("is said without what it holds beyond reason", () => {
    expect(() => parse(`a/${"B".repeat(100_000)}`)).toThrow(/^.{0,200}$/)
  })
})

it("is told from a folder by what only an image has", () => {
  for (const text of ["oci:a", "podman:a", "python:3", "ghcr.io/a/b", "localhost/a", `a@${digest}`, "localhost:1/a"])
    expect([text, namesImage(text)]).toEqual([text, true])
  for (const text of ["examples/parcel-sorting", "env", "./a:1", "/a/b:1", "../x.y/z", "~/a.b/c"])
    expect([text, namesImage(text)]).toEqual([text, false])
})

it("is the same image's name, with and without what is understood", () => {
  expect(sameRepositoryTag("x", "docker.io/library/x:latest")).toBe(true)
  expect(sameRepositoryTag("localhost/x:latest", "x")).toBe(false)
})
