// emit-evidence on a real engine, with the examples; verify-evidence on what it makes.
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { type Report, unpackArchive } from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { defaultCacheDir, ensureBaseImage } from "../../scripts/base-image.ts"
import { findProgram, findPythonWithPip, findRuntime } from "../../scripts/prerequisites.ts"
import { newKeyPair } from "../bundles/signing.ts"
import { runVerify } from "../bundles/verifying.ts"

const root = join(import.meta.dirname, "..", "..")
const example = (name: string) => join(root, "examples", name)
const BIN = join(root, "packages", "emit", "bin", "emit-evidence.js")

const missing = [
  ...["podman", "mmdebstrap"].filter(name => findProgram(name) === undefined),
  ...(findRuntime() === undefined ? ["runc or crun"] : []),
  ...(findPythonWithPip() === undefined ? ["python3 with pip"] : []),
]
const reason = missing.length === 0 ? "" : ` (skipped: there is no ${missing.join(", no ")})`

interface Ended {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  /** Titles of the steps that ran. */
  readonly steps: readonly string[]
}

// Images are large: not in /tmp, which is often kept in memory. Short: the engine's sockets lie below it.
const folder = mkdtempSync("/var/tmp/e2e-")
const temporary = join(folder, "t")
const key = newKeyPair()
const keyFile = join(folder, "private.pem")
const publicKeyFile = join(folder, "public.pem")

function start(args: readonly string[]): {
  child: ChildProcess
  ended: Promise<Ended>
  saw: (text: string) => Promise<void>
} {
  const child = spawn(process.execPath, [BIN, ...args, "--progress", "json", "--build-network", "none"], {
    env: { ...process.env, TMPDIR: temporary, SIGSTORE_ID_TOKEN: "" },
    stdio: ["ignore", "pipe", "pipe"],
  })
  let stdout = ""
  let stderr = ""
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  let over = false
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject)
    child.once("close", exitCode => {
      over = true
      resolve({ exitCode, stdout, stderr, steps: stepsOf(stderr) })
    })
  })
  const saw = async (text: string) => {
    while (!stderr.includes(text)) {
      if (over) throw new Error(`it ended before "${text}":\n${stderr}`)
      await pause(50)
    }
  }
  return { child, ended, saw }
}

const emit = (...args: string[]): Promise<Ended> => start(args).ended

const stepsOf = (stderr: string): string[] =>
  stderr
    .split("\n")
    .filter(line => line.startsWith("{"))
    .map(line => JSON.parse(line) as { step: string; state: string })
    .filter(({ state }) => state === "done")
    .map(({ step }) => step)

const output = (name: string) => join(folder, name)

async function membersOf(bundle: string): Promise<Map<string, Buffer>> {
  const members = await unpackArchive(readFileSync(bundle), nodeCompression)
  return new Map(members.map(({ path, bytes }) => [path, Buffer.from(bytes)]))
}

function processesWith(text: string): string[] {
  return readdirSync("/proc")
    .filter(name => /^\d+$/.test(name) && name !== String(process.pid))
    .filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(text)
      } catch {
        return false
      }
    })
}

async function expectNothingLeft(): Promise<void> {
  // conmon and the runtime end a moment after their container.
  for (let i = 0; i < 30 && processesWith(temporary).length > 0; i++) await pause(100)
  expect(processesWith(temporary)).toEqual([])
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(temporary)
  expect(readdirSync(temporary)).toEqual([])
}

interface Expected {
  readonly exitCode: number
  readonly findings: Readonly<Record<string, { outcome: string; names: string[] }>>
}

function expectFindings({ findings }: Report, name: string): void {
  const expected = JSON.parse(readFileSync(join(example(name), "expect.json"), "utf8")) as Expected
  for (const [id, { outcome, names }] of Object.entries(expected.findings)) {
    const finding = findings.find(candidate => candidate.id === id)
    expect([id, finding?.outcome]).toEqual([id, outcome])
    const parts = (finding?.parts ?? []).flatMap(part => [part.because, part.where?.instruction])
    const told = [finding?.because, ...parts].join("\n")
    for (const part of names) expect(told).toContain(part)
  }
}

describe.skipIf(missing.length > 0)(`emit-evidence on podman${reason}`, () => {
  const first = output("first.tar.gz")
  const workFolder = join(folder, "work")
  let emitted: Ended

  beforeAll(async () => {
    mkdirSync(temporary)
    writeFileSync(keyFile, key.privateKeyPem, { mode: 0o600 })
    writeFileSync(publicKeyFile, key.publicKeyPem)
    await ensureBaseImage({ log: () => {}, cacheDir: defaultCacheDir() })
    const kept = ["--work-dir", workFolder, "--image-output", join(folder, "image")]
    emitted = await emit(example("parcel-sorting"), "--policy", "demo", "--key", keyFile, "--output", first, ...kept)
  }, 240_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const verify = async (bundle: string, ...subject: string[]) => {
    const args = ["--key", publicKeyFile, "--policy", "demo", "--format", "json", ...subject]
    const { exitCode, stdout, stderr } = await runVerify([bundle, ...args])
    expect(stderr).toBe("")
    return { exitCode, report: JSON.parse(stdout) as Report }
  }

  test("makes evidence that is accepted for this checkout and this image", async () => {
    expect([emitted.exitCode, emitted.stdout]).toEqual([0, expect.stringContaining("Signed")])
    const subject = ["--submission", example("parcel-sorting"), "--image", `oci:${join(folder, "image")}`]
    const { exitCode, report } = await verify(first, ...subject)
    expect(exitCode).toBe(0)
    expectFindings(report, "parcel-sorting")
    expect(report.findings.find(({ id }) => id === "multi-stage-hygiene")?.assurance).toBe("derived")
    await expectNothingLeft()
  })

  test("keeps existing output, before it does any work", async () => {
    const before = readFileSync(first)
    const { exitCode, stderr, steps } = await emit(example("parcel-sorting"), "--key", keyFile, "--output", first)
    expect([exitCode, steps]).toEqual([2, []])
    expect(stderr).toContain("--force")
    expect(Buffer.compare(readFileSync(first), before)).toBe(0)
  })

  test("agrees with itself on image, submission and SBOM, byte for byte; unsigned if that is asked", async () => {
    const second = output("second.unsigned.tar.gz")
    const args = ["--policy", "demo", "--no-sign", "--output", output("second.tar.gz")]
    const { exitCode, stdout, steps } = await emit(example("parcel-sorting"), ...args)
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining("Unsigned")])
    expect(steps).toContain("building the image")
    const [one, two] = await Promise.all([membersOf(first), membersOf(second)])
    const shared = [...one.keys()].filter(path => /^(image\/|submission\.json$|sbom\.cdx\.json$)/.test(path))
    expect(shared.length).toBeGreaterThan(4)
    for (const path of shared) expect([path, two.get(path)?.equals(one.get(path) ?? Buffer.of())]).toEqual([path, true])
    expect(existsSync(output("second.tar.gz"))).toBe(false)
  }, 120_000)

  test("resumes from what was observed, and names the ways to sign where none was chosen", async () => {
    const args = ["--policy", "demo", "--work-dir", workFolder, "--resume", "--output", output("resumed.tar.gz")]
    const { exitCode, stderr, steps } = await emit(example("parcel-sorting"), ...args)
    expect(exitCode).toBe(2)
    expect(stderr).toContain("[signing-not-chosen]")
    for (const way of ["--identity-token", "--key", "--no-sign"]) expect(stderr).toContain(way)
    // Said before the work, and with what the preview gives.
    expect(stderr.slice(0, stderr.indexOf("{"))).toContain("nobody said how to sign: the bundle will be unsigned")
    expect(stderr).toContain("in its preview every required criterion passes")
    expect(steps.filter(step => /^(building|observing)/.test(step))).toEqual([])
    const [one, two] = await Promise.all([membersOf(first), membersOf(output("resumed.unsigned.tar.gz"))])
    for (const path of one.keys())
      if (path.startsWith("observations/")) expect(two.get(path)?.equals(one.get(path) ?? Buffer.of())).toBe(true)
    expect(existsSync(output("resumed.tar.gz"))).toBe(false)
  }, 60_000)

  test("shows every flaw of the flawed example, where it is", async () => {
    const bundle = output("flawed.tar.gz")
    const flawed = example("parcel-sorting-flawed")
    const { exitCode, stdout } = await emit(flawed, "--policy", "demo", "--key", keyFile, "--output", bundle)
    expect([exitCode, stdout]).toEqual([3, expect.stringContaining("Signed")])
    const { exitCode: verdict, report } = await verify(bundle, "--submission", flawed)
    expect(verdict).toBe(3)
    expectFindings(report, "parcel-sorting-flawed")
    await expectNothingLeft()
  }, 180_000)

  test("shows what fails one criterion, and no other", async () => {
    const bundle = output("layer-change.tar.gz")
    const flawed = example("layer-change-flawed")
    const { exitCode } = await emit(flawed, "--policy", "demo", "--key", keyFile, "--output", bundle)
    const { exitCode: verdict, report } = await verify(bundle, "--submission", flawed)
    expect([exitCode, verdict]).toEqual([0, 0])
    expectFindings(report, "layer-change-flawed")
    const failed = report.findings.filter(({ outcome }) => outcome === "fail").map(({ id }) => id)
    expect(failed).toEqual(["layer-change-isolation"])
  }, 120_000)

  test("leaves nothing when it is interrupted", async () => {
    const { child, ended, saw } = start([
      example("parcel-sorting"),
      "--key",
      keyFile,
      "--output",
      output("never.tar.gz"),
    ])
    await saw('"step":"building the image"')
    // Into the build, so that there is something to clean.
    await pause(1000)
    expect(readdirSync(temporary)).not.toEqual([])
    child.kill("SIGINT")
    const { exitCode, stderr } = await ended
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("[interrupted]")])
    expect(stderr).toContain('"step":"building the image","state":"interrupted"')
    expect(readdirSync(folder).filter(name => name.startsWith("never") || name.startsWith(".envidence"))).toEqual([])
    await expectNothingLeft()
  }, 60_000)
})
