// Each of these reached a file of the host under podman 4.3.1 (buildah 1.28.2), or hides what does.
import { baseReferences, hasSafeMounts, mountProblem, usesMounts } from "@envidence/emit"
import { describe, expect, it } from "vitest"

const run = (...mounts: string[]) => ["FROM scratch", ...mounts.map(mount => `RUN ${mount} true`), ""].join("\n")

describe("mounts", () => {
  it.each([
    "--mount=type=bind,from=a,source=/hostlink,target=/m",
    "--mount=from=uv,source=/uv,target=/bin/uv",
    "--mount=type=bind,source=.,target=/m,rw",
    "--mount=type=bind,source=../..,target=/m",
    "--mount=type=bind,source=$X,target=/m",
    "--mount=type=bind,bind-propagation=shared,source=a,target=/m",
    "--mount=type=cache,id=../../../etc,target=/m",
    "--mount=type=cache,from=a,target=/m",
    "--mount=type=cache,sharing=locked,target=/m",
    "--mount=type=cache,target=/",
    "--mount=type=bind,source=a,target=/m,source=b",
    '--mount="type=cache,target=/a b,from=x"',
    '--mo"un"t=type=bind,from=a,target=/m',
    "--m\\ount=type=bind,from=a,target=/m",
    "--mo\\\nunt=type=bind,from=a,target=/m",
    "--mo\\\n# a comment\n\nunt=type=bind,from=a,target=/m",
    "--network=none --mount=type=cache,target=/c --mount=type=bind,from=a,target=/m",
    "--mount=type=cache,target=/a\ufeff,from=x",
    "--mount type=bind",
    "--mount=type=devpts,target=/m",
  ])("%j are refused on an engine with holes", mount => {
    expect(usesMounts(run(mount))).toBe(true)
    expect(mountProblem(run(mount))).toEqual(expect.any(String))
  })

  it("of a cache inside another one are refused: a link in the outer one leads out", () => {
    expect(mountProblem(run("--mount=type=cache,target=/a", "--mount=type=cache,target=/a/b"))).toContain("/a")
    expect(mountProblem(run("--mount=type=cache,id=a,target=/x", "--mount=type=cache,target=/a/b"))).toContain("/a")
  })

  it("under another escape character are refused", () => {
    const text = "# escape=`\nFROM scratch\nRUN --mo`\nunt=type=bind,from=a,target=/m true\n"
    expect([usesMounts(text), mountProblem(text)]).toEqual([true, expect.any(String)])
  })

  it.each([
    ["--mount=type=cache,target=/root/.cache/uv"],
    ["--mount=type=cache,target=/root/.cache/uv", "--mount=type=cache,target=/root/.cache/pip,sharing=shared"],
    ["--mount=type=cache,id=uv,target=/c", "--mount=type=cache,id=uv,target=/d"],
    ["--mount=type=bind,source=pyproject.toml,target=/w/pyproject.toml,ro"],
    ["--mount=type=tmpfs,target=/tmp", "--mount=type=secret,id=token"],
  ])("%j are harmless", (...mounts) => expect(mountProblem(run(...mounts))).toBeUndefined())

  it("in comments are none", () => {
    expect(usesMounts("FROM scratch\n  # RUN --mount=type=bind,from=a\nCOPY a \\\n# --mount\n b /\n")).toBe(false)
  })
})

describe("base images", () => {
  const references = (text: string, buildArgs: Record<string, string> = {}) => {
    const found = baseReferences(text, buildArgs)
    return "problem" in found ? undefined : found.references
  }

  it.each([
    ["FROM python:3.12-slim", ["python:3.12-slim"]],
    ["from docker.io/library/python:3.12 as Build\nFROM build\nFROM scratch", ["docker.io/library/python:3.12"]],
    [`ARG TAG=3.12\nARG BASE=python\nFROM $${"{BASE}"}:$TAG`, ["python:3.12"]],
    ["F\\\nROM evil", ["evil"]],
    [`FROM localhost:5000/a/b:1@sha256:${"a".repeat(64)}`, [`localhost:5000/a/b:1@sha256:${"a".repeat(64)}`]],
    ["FROM a\nRUN <<E\\\nE\\\nFROM evil", ["a", "evil"]],
  ])("of %j are %j", (text, expected) => expect(references(text)).toEqual(expected))

  it("follow a build argument", () => {
    expect(references("ARG BASE=good\nFROM $BASE", { BASE: "other" })).toEqual(["other"])
  })

  it.each([
    "FROM --platform=linux/arm64 a",
    `FROM a\nARG X=good\nFROM $${"{X:-evil}"}`,
    "FROM a\nARG X=:good\nFROM evil$X",
    "ARG X=good\nARG X=evil\nFROM $X",
    "ARG X=good\nARG X=evil Y=1\nFROM $X",
    "ARG TARGETARCH=good\nFROM evil-$TARGETARCH",
    "FROM oci:layout",
    "FROM docker-archive:/tmp/x.tar",
    'FROM "evil"',
    "FROM a\nRUN <<E\nFROM scratch AS evil\nE\nFROM evil",
  ])("of %j cannot be read", text => expect(references(text)).toBeUndefined())
})

describe("an engine's mounts", () => {
  it.each([
    ["1.28.2", false],
    ["1.35.1", false],
    ["1.38.0", false],
    ["1.38.1", true],
    ["1.39.0", true],
    ["2.0.0", true],
    ["1.38.1-dev", false],
    ["unknown", false],
  ])("under buildah %s are safe: %s", (version, expected) => expect(hasSafeMounts(version)).toBe(expected))
})
