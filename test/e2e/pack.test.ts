// The packages as npm delivers them, in a folder that knows nothing of this repository.
import { execFile } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

const root = join(import.meta.dirname, "..", "..")
const PACKAGES = ["core", "oci", "trust", "emit", "verify"] as const
const BINS = ["emit-evidence", "verify-evidence"] as const
const folder = mkdtempSync(join(tmpdir(), "envidence-pack-"))
const consumer = join(folder, "consumer")
const run = promisify(execFile)

// npm is beside no particular Node: it is run by the one that runs the tests, found in PATH.
const npm = (args: readonly string[], cwd: string) => run("npm", [...args, "--no-audit", "--no-fund"], { cwd })

beforeAll(async () => {
  const tarballs = join(folder, "tarballs")
  mkdirSync(tarballs)
  mkdirSync(consumer)
  const workspaces = PACKAGES.flatMap(name => ["--workspace", `@envidence/${name}`])
  await npm(["pack", "--silent", "--pack-destination", tarballs, ...workspaces], root)
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
  const files = readdirSync(tarballs).map(name => join(tarballs, name))
  expect(files).toHaveLength(PACKAGES.length)
  await npm(["install", "--prefer-offline", "--ignore-scripts", ...files], consumer)
}, 180_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const installed = (name: string) => join(consumer, "node_modules", "@envidence", name)
const filesOf = (name: string) =>
  readdirSync(installed(name), { recursive: true, encoding: "utf8" }).filter(path => !path.startsWith("node_modules"))

describe.each(PACKAGES)("@envidence/%s", name => {
  test("brings no sources, tests or build state", () => {
    const unwanted = /\.test\.|(^|\/)(src|test|tests)(\/|$)|tsbuildinfo|tsconfig|(?<!\.d)\.ts$/
    expect(filesOf(name).filter(path => unwanted.test(path))).toEqual([])
    expect(filesOf(name)).toContain(join("dist", "index.d.ts"))
  })
  test("depends on exact versions of this release, and on nothing in this repository", () => {
    const manifest = JSON.parse(readFileSync(join(installed(name), "package.json"), "utf8"))
    for (const version of Object.values(manifest.dependencies ?? {})) expect(version).toMatch(/^\d+\.\d+\.\d+$/)
  })
  test("is imported by its name", async () => {
    const script = `console.log(Object.keys(await import("@envidence/${name}")).length)`
    const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], { cwd: consumer })
    expect(Number(stdout)).toBeGreaterThan(0)
  })
})

// A distribution's own Node, where there is one that is too old.
const old = "/usr/bin/node"
const isOld = existsSync(old) && /^v(1\d|20|21)\./.test((await run(old, ["--version"])).stdout)

describe.each(BINS)("%s", name => {
  const bin = join(consumer, "node_modules", ".bin", name)

  test("starts", async () => {
    const version = await run(process.execPath, [bin, "--version"], { cwd: consumer })
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    const help = await run(process.execPath, [bin, "--help"], { cwd: consumer })
    expect(help.stdout).toContain(`${name} `)
    expect(help.stderr).toBe("")
  })

  test.skipIf(!isOld)("says in one line that Node is too old (needs one)", async () => {
    const ended = await run(old, [bin, "--version"]).catch(
      (error: { code: number; stdout: string; stderr: string }) => error,
    )
    expect(ended).toMatchObject({ code: 1, stdout: "" })
    expect(ended.stderr).toMatch(new RegExp(`^${name} needs Node .*\\n$`))
  })
})

test("types resolve for a consumer with ES modules", async () => {
  writeFileSync(
    join(consumer, "consumer.ts"),
    `import { EvidenceError, type Report, readBundle } from "@envidence/core"
import { openOciLayout } from "@envidence/oci"
import { keyAuthenticator } from "@envidence/trust"
import { main as emit } from "@envidence/emit"
import { main as verify, type World } from "@envidence/verify"
export const all: readonly unknown[] = [EvidenceError, readBundle, openOciLayout, keyAuthenticator, emit, verify]
export type Both = [Report["verdict"], ReturnType<World["now"]>]
`,
  )
  const check = (text: string) => {
    const options = {
      module: "NodeNext",
      target: "ES2024",
      lib: ["ES2024"],
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: [],
    }
    writeFileSync(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: [text] }))
    const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
    return run(process.execPath, [tsc, "-p", consumer]).then(
      () => "",
      (error: { stdout: string }) => error.stdout,
    )
  }
  expect(await check("consumer.ts")).toBe("")
  // Had they resolved to `any`, this would pass too.
  writeFileSync(join(consumer, "wrong.ts"), 'import { main } from "@envidence/verify"\nexport const x: string = main\n')
  expect(await check("wrong.ts")).toContain("TS2322")
})
