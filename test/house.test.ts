// The import rules of docs/architecture.md, and that what is generated is not stale.
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"

const root = join(import.meta.dirname, "..")

const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  oci: ["core"],
  trust: ["core"],
  emit: ["core", "oci", "trust"],
  verify: ["core", "oci", "trust"],
}

interface SourceFile {
  readonly room: string
  /** Relative to the package's src. */
  readonly path: string
  readonly text: string
  readonly imports: readonly string[]
}

const sources: readonly SourceFile[] = Object.keys(MAY_IMPORT).flatMap(room =>
  readdirSync(join(root, "packages", room, "src"), { recursive: true, encoding: "utf8" })
    .filter(path => path.endsWith(".ts"))
    .map(path => {
      const text = readFileSync(join(root, "packages", room, "src", path), "utf8")
      const imports = [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)].map(match => match[1] ?? "")
      return { room, path, text, imports }
    }),
)

const offenders = (breaks: (source: SourceFile) => boolean) =>
  sources.filter(breaks).map(({ room, path }) => `${room}/${path}`)

describe("import rules", () => {
  test("there are sources in every room", () => {
    for (const room of Object.keys(MAY_IMPORT)) expect(sources.some(source => source.room === room)).toBe(true)
  })
  test("a package imports only those below it", () => {
    const breaks = ({ room, imports }: SourceFile) =>
      imports.some(name => {
        const sibling = /^@envidence\/(\w+)/.exec(name)?.[1]
        return sibling !== undefined && MAY_IMPORT[room]?.includes(sibling) !== true
      })
    expect(offenders(breaks)).toEqual([])
  })
  test("core imports nothing of Node and has no clock, network or chance", () => {
    const impure = /\bDate\.now\b|\bnew Date\(\)|\bfetch\(|\bMath\.random\b|\bprocess\.|\bBuffer\b/
    expect(
      offenders(
        ({ room, imports, text }) =>
          room === "core" && (imports.some(name => name.startsWith("node:")) || impure.test(text)),
      ),
    ).toEqual([])
  })
  test("only trust imports @sigstore", () => {
    expect(
      offenders(({ room, imports }) => room !== "trust" && imports.some(name => /^@?sigstore/.test(name))),
    ).toEqual([])
  })
  test("only emit's lab spawns processes", () => {
    const spawns = (name: string) => /^(node:)?(child_process|worker_threads|cluster)$/.test(name) || name === "execa"
    expect(
      offenders(({ room, path, imports }) => !(room === "emit" && path.startsWith("lab/")) && imports.some(spawns)),
    ).toEqual([])
  })
  test("only bin.ts touches process", () => {
    // The forwarder is a program of its own, which the lab starts inside a container's network.
    const mayTouch = new Set(["bin.ts", "lab/forwarder.ts"])
    expect(
      offenders(({ path, text }) => !mayTouch.has(path) && /\bprocess\.(?!js)/.test(withoutComments(text))),
    ).toEqual([])
  })
  test("a parent folder's files are not reached across packages", () => {
    expect(
      offenders(({ imports }) => imports.some(name => name.includes("/packages/") || name.includes("/dist/"))),
    ).toEqual([])
  })
})

const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "")

test("types, validators and policies are what schemas/ and policies/ give", () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, "scripts", "generate.ts"), "--check"], {
    encoding: "utf8",
  })
  expect(stderr).toBe("")
  expect(status).toBe(0)
})
