// `npm run demo`: a real OpenEnv environment from source to a signed bundle, the maintainer's report on it, and what
// happens when one byte of it is changed. Signs with a throw-away Sigstore, so nothing leaves this machine.
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { rmSync } from "node:fs"
import { mkdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { startSigstore } from "../test/sigstore/start.ts"
import { defaultCacheDir, ensureBaseImage } from "./base-image.ts"
import { ensurePrerequisites } from "./prerequisites.ts"

const root = join(import.meta.dirname, "..")
const out = join(root, "demo-out")
const bundle = join(out, "evidence-bundle.tar.gz")
const trustedRoot = join(out, "trusted_root.json")

const say = (text: string) => console.log(`\n== ${text}`)

let child: ChildProcess | undefined
let interrupted = false

function interrupt(signal: NodeJS.Signals): void {
  if (interrupted) return
  interrupted = true
  if (child !== undefined) {
    child.kill(signal)
    return
  }
  rmSync(tokenFile, { force: true })
  console.error("demo: interrupted")
  process.exit(1)
}

/** Runs one of our commands as a user would, and returns its exit code. */
async function run(tool: "emit" | "verify", args: readonly string[]): Promise<number> {
  const program = join(root, "packages", tool, "bin", `${tool}-evidence.js`)
  console.log(`$ ${commandLine(tool, args)}`)
  // In a session of its own: a terminal would send Ctrl-C to it as well, and a second one keeps it from cleaning up.
  const started = spawn(process.execPath, [program, ...args], { cwd: root, stdio: "inherit", detached: true })
  child = started
  try {
    const [code] = (await once(started, "close")) as [number | null]
    return code ?? 1
  } finally {
    child = undefined
  }
}

const commandLine = (tool: "emit" | "verify", args: readonly string[]): string =>
  [`${tool}-evidence`, ...args.map(arg => arg.replace(`${root}/`, ""))].map(quoteForShell).join(" ")

const quoteForShell = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

async function expectExit(expected: number, tool: "emit" | "verify", args: readonly string[]): Promise<void> {
  const code = await run(tool, args)
  if (interrupted) throw new Error("interrupted")
  if (code !== expected) throw new Error(`stopped: ${tool}-evidence ended with ${code}, not ${expected}`)
}

async function makeBundle(): Promise<{ identity: string; issuer: string }> {
  const sigstore = await startSigstore()
  try {
    await writeFile(trustedRoot, await readFile(sigstore.trustedRootFile))
    const who = { email: "contributor@example.com" }
    say("The contributor: build twice, run, observe, sign")
    await expectExit(0, "emit", [
      "examples/parcel-sorting",
      ...["--policy", "demo", "--build-network", "none"],
      ...["--signing-config", sigstore.signingConfigFile, "--trusted-root", sigstore.trustedRootFile],
      ...["--identity-token", await writeToken(sigstore.mintToken(who))],
      ...["--image-output", join(out, "image"), "--output", bundle, "--force"],
    ])
    return sigstore.signerOf(who)
  } finally {
    await rm(tokenFile, { force: true })
    await sigstore.stop()
  }
}

const tokenFile = join(out, ".identity-token")

// In a file, because other users of the machine can read command lines.
async function writeToken(token: string): Promise<string> {
  await writeFile(tokenFile, token, { mode: 0o600 })
  return tokenFile
}

async function imageDigest(): Promise<string> {
  const index = JSON.parse(await readFile(join(out, "image", "index.json"), "utf8")) as {
    manifests: { digest: string }[]
  }
  const [descriptor] = index.manifests
  if (descriptor === undefined) throw new Error("the kept layout holds no image")
  return descriptor.digest
}

async function alteredCopy(): Promise<string> {
  const bytes = await readFile(bundle)
  const middle = Math.floor(bytes.length / 2)
  bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle)
  const path = join(out, "altered.tar.gz")
  await writeFile(path, bytes)
  return path
}

async function demonstrate(): Promise<void> {
  say("What this machine needs")
  if (ensurePrerequisites()) console.log("all there")
  await ensureBaseImage({ log: console.log, cacheDir: defaultCacheDir() })
  await mkdir(out, { recursive: true })
  const { identity, issuer } = await makeBundle()
  const args = [
    ...["--certificate-identity", identity, "--certificate-oidc-issuer", issuer],
    ...["--image-digest", await imageDigest(), "--policy", "demo"],
  ]
  await writeFile(join(out, "signer.json"), `${JSON.stringify({ identity, issuer, args }, null, 2)}\n`)

  say("The maintainer: verify, without network and without that machine")
  const offline = ["--offline", "--trusted-root", trustedRoot]
  const reports = ["text", `json=${join(out, "report.json")}`, `markdown=${join(out, "report.md")}`]
  await expectExit(0, "verify", [bundle, ...args, ...offline, ...reports.flatMap(report => ["--report", report])])

  say("The same bundle with one byte changed")
  const altered = await alteredCopy()
  try {
    await expectExit(4, "verify", [altered, ...args, ...offline])
  } finally {
    await rm(altered, { force: true })
  }
  console.log("(the altered copy is deleted)")

  say("Done: demo-out/ holds the bundle, its trusted root, the image and the reports")
  console.log(`Try next:\n  npx ${commandLine("verify", [bundle, ...args, ...offline])}`)
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupt)
try {
  await demonstrate()
} catch (error) {
  console.error(`demo: ${interrupted ? "interrupted" : error instanceof Error ? error.message.split("\n")[0] : error}`)
  process.exitCode = 1
}
