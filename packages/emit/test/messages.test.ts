import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { BoundedLog, main, openEngine, type World } from "@envidence/emit"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const folder = mkdtempSync(join(tmpdir(), "messages-"))
beforeAll(() => writeFileSync(join(folder, "notes.txt"), "no bundle"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function emit(argv: readonly string[], env: World["env"] = {}) {
  let [stdout, stderr] = ["", ""]
  const exitCode = await main(argv, {
    stdout: text => {
      stdout += text
    },
    stderr: text => {
      stderr += text
    },
    isTerminal: false,
    env,
    now: () => new Date(),
    signal: new AbortController().signal,
    nodePath: process.execPath,
    nodeVersion: process.versions.node,
    temporaryDirectory: folder,
  })
  return { exitCode, stdout, stderr }
}

describe("sign", () => {
  const output = ["--output", join(folder, "out.tar.gz")]

  it("names the file that is no bundle, first", async () => {
    const file = join(folder, "notes.txt")
    const key = join(folder, "key.pem")
    const { generateKeyPairSync } = await import("node:crypto")
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
    writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 })
    const { exitCode, stderr } = await emit(["sign", file, "--key", key, ...output])
    expect([exitCode, stderr]).toEqual([4, expect.stringMatching(/^emit-evidence: .*notes\.txt: /)])
  })

  it("without a way to sign does not offer to leave it", async () => {
    const { exitCode, stderr } = await emit(["sign", join(folder, "notes.txt"), ...output])
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("[signing-not-chosen]")])
    expect(stderr).toContain("--key")
    expect(stderr).not.toContain("--no-sign")
  })
})

describe("--dry-run", () => {
  const plan = async (args: readonly string[], env: World["env"] = {}) =>
    (await emit([folder, "--dry-run", "--output", "b.tar.gz", ...args], env)).stdout

  it("says how it will sign, and the name that the bundle really gets", async () => {
    expect(await plan([])).toMatch(/sign +not: nobody said how.*\noutput +b\.unsigned\.tar\.gz\n/)
    expect(await plan(["--no-sign"])).toMatch(/sign +not \(--no-sign\)\noutput +b\.unsigned\.tar\.gz\n/)
    const token = { SIGSTORE_ID_TOKEN: "e30.e30.e30" }
    expect(await plan([], token)).toMatch(/sign +keylessly\noutput +b\.tar\.gz\n/)
  })
})

describe("an engine that is there and refuses", () => {
  const bin = join(folder, "bin")
  const open = (podman: string) => {
    mkdirSync(bin, { recursive: true })
    writeFileSync(join(bin, "podman"), `#!/bin/sh\n${podman}\n`)
    chmodSync(join(bin, "podman"), 0o755)
    return openEngine("podman", {
      parentDirectory: folder,
      env: { PATH: `${bin}:/usr/bin:/bin` },
      nodePath: process.execPath,
      log: new BoundedLog(),
      signal: new AbortController().signal,
    })
  }
  const info = JSON.stringify({ store: { graphDriverName: "vfs", graphRoot: folder, graphOptions: {} } })
  const runs = (says: string) =>
    `case "$1" in --version) ;; info) echo '${info}' ;; run) echo '${says}' >&2; exit 126 ;; esac`

  it("is not to be installed: what failed is said", async () => {
    const broken = { code: "engine-failed", hint: expect.not.stringContaining("install") }
    await expect(open(runs("Error: cannot set up namespace: operation not permitted"))).rejects.toMatchObject({
      ...broken,
      message: expect.stringContaining("operation not permitted"),
    })
    await expect(open("echo no subuid ranges >&2; exit 125")).rejects.toMatchObject({
      ...broken,
      message: expect.stringContaining("no subuid ranges"),
    })
  })

  it("needs a runtime installed where there is none", async () => {
    await expect(open(runs('Error: default OCI runtime "crun" not found: invalid argument'))).rejects.toMatchObject({
      code: "engine-failed",
      hint: expect.stringContaining("apt-get install"),
    })
  })
})
