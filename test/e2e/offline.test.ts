// verify-evidence as a program: without network, and without a right to write anything.
import { spawn } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { startKeyless } from "../bundles/keyless.ts"
import { buildState, newFolder, removeFolders } from "../bundles/state.ts"
import { writeTemporary } from "../bundles/verifying.ts"

const BIN = join(import.meta.dirname, "..", "..", "packages", "verify", "bin", "verify-evidence.js")
const READ_ONLY = ["--permission", "--allow-fs-read=*"]

interface Ended {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text
    })
    child.once("error", reject)
    child.once("close", exitCode => resolve({ exitCode, stdout, stderr }))
  })
}

const node = (...args: string[]) => run(process.execPath, args, newFolder())

let bundle: string
let args: string[]
let imageDirectory: string

// The Sigstore has ended before anything is verified: whoever asked it would fail.
beforeAll(async () => {
  const keyless = await startKeyless()
  try {
    const state = await buildState()
    imageDirectory = state.imageDirectory
    const who = { email: "alice@example.com" }
    bundle = writeTemporary("evidence-bundle.tar.gz", await keyless.sign(state, who))
    const { identity, issuer } = keyless.signerOf(who)
    const { readFileSync } = await import("node:fs")
    const root = writeTemporary("trusted_root.json", readFileSync(keyless.trustedRootFile))
    args = ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer, "--policy", "demo"]
    args.push("--offline", "--trusted-root", root)
  } finally {
    await keyless.stop()
  }
})
afterAll(removeFolders)

describe("under Node's permission model, with read access alone", () => {
  test("it accepts what is to be accepted, and writes nothing", async () => {
    const folder = newFolder()
    const argv = [...READ_ONLY, BIN, bundle, ...args, "--image", `oci:${imageDirectory}`]
    const { exitCode, stdout, stderr } = await run(process.execPath, argv, folder)
    expect([exitCode, stderr]).toEqual([0, ""])
    expect(stdout).toMatch(/^ACCEPTED /)
    expect(readdirSync(folder)).toEqual([])
  })
  test("it refuses what is to be refused", async () => {
    const { exitCode, stdout } = await node(
      ...READ_ONLY,
      BIN,
      bundle,
      ...args,
      "--image-digest",
      `sha256:${"0".repeat(64)}`,
    )
    expect(exitCode).toBe(6)
    expect(stdout).toContain("subject-mismatch")
  })
  test("it could not write if it wanted to", async () => {
    const report = join(newFolder(), "report.json")
    const argv = [...READ_ONLY, BIN, bundle, ...args, "--any-subject-unsafe", "--report", `json=${report}`]
    const { exitCode, stderr } = await node(...argv)
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("ERR_ACCESS_DENIED")])
    expect(existsSync(report)).toBe(false)
  })
})

// Loaded before the program: every way by which Node reaches a network ends it with a code of its own.
const TRAP_CODE = 99
const trap = () =>
  writeTemporary(
    "trap.mjs",
    `import dgram from "node:dgram"
import dns from "node:dns"
import { Socket } from "node:net"
const spring = () => { console.error("the network was touched"); process.exit(${TRAP_CODE}) }
Socket.prototype.connect = spring
dgram.createSocket = spring
dns.lookup = dns.promises.lookup = dns.resolve = spring
globalThis.fetch = spring
`,
  )

describe("without network", () => {
  test("it touches nothing of it", async () => {
    const argv = ["--import", trap(), BIN, bundle, ...args, "--any-subject-unsafe"]
    const { exitCode, stderr } = await node(...argv)
    expect([exitCode, stderr]).toEqual([0, ""])
  })
  test("the trap springs where the trusted root must be fetched", async () => {
    const online = args.filter((arg, i) => !/^--(offline|trusted-root)$/.test(arg) && args[i - 1] !== "--trusted-root")
    const { exitCode, stderr } = await node("--import", trap(), BIN, bundle, ...online, "--any-subject-unsafe")
    expect([exitCode, stderr]).toEqual([TRAP_CODE, expect.stringContaining("the network was touched")])
  })
  test("the trap springs for each way there is", async () => {
    const ways = [
      'require("node:net").connect(9)',
      'require("node:http").get("http://127.0.0.1:9")',
      'fetch("http://127.0.0.1:9")',
      'require("node:dns").lookup("localhost", () => {})',
      'require("node:dgram").createSocket("udp4")',
    ]
    for (const way of ways) expect((await node("--import", trap(), "--eval", way)).exitCode).toBe(TRAP_CODE)
  })

  const strace = ["/usr/bin/strace", "/usr/local/bin/strace"].find(path => existsSync(path))
  const traced = async (...argv: string[]): Promise<string[]> => {
    const log = join(newFolder(), "trace")
    await run(
      strace ?? "",
      ["-f", "-qq", "-e", "trace=socket,connect", "-o", log, process.execPath, ...argv],
      newFolder(),
    )
    const { readFileSync } = await import("node:fs")
    return readFileSync(log, "utf8")
      .split("\n")
      .filter(line => /AF_INET/.test(line))
  }
  test.skipIf(strace === undefined)("the kernel sees no socket of an internet (needs strace)", async () => {
    expect(await traced(BIN, bundle, ...args, "--any-subject-unsafe")).toEqual([])
    // And would have seen one.
    expect(await traced("--eval", 'require("node:net").connect(9, "127.0.0.1").on("error", () => {})')).not.toEqual([])
  })
})
