import { createHmac, randomBytes } from "node:crypto"
import { link, mkdir, open, readFile, unlink, writeFile } from "node:fs/promises"
import { arch, cpus, homedir, hostname, release, totalmem, version } from "node:os"
import { isAbsolute, join } from "node:path"
import { canonicalJsonBytes, EvidenceError, type SnapshotDocument, sha256Digest } from "@envidence/core"
import type { Engine } from "./lab/engine.js"

type Field = SnapshotDocument["fields"][number]

export interface SnapshotOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Null where nothing was built or run. */
  readonly engine: Pick<Engine, "name" | "version" | "runtime"> | null
  /** The version of the Node that observes. */
  readonly nodeVersion: string
}

/**
 * The machine as it describes itself: its class in plain text; what identifies it only as HMAC-SHA256 under a random
 * salt that never leaves the machine, so that two bundles can be seen to come from one machine and nobody learns which.
 *
 * @throws EvidenceError input-unreadable where the salt can be neither read nor made
 */
export async function takeSnapshot(options: SnapshotOptions): Promise<SnapshotDocument> {
  const identifying = await identifyingFields(await machineSalt(options.env))
  const fingerprint = await sha256Digest(canonicalJsonBytes(identifying.map(({ name, value }) => ({ name, value }))))
  const fields = [...(await systemFields()), ...programFields(options), ...identifying]
  return { schemaVersion: "1.0", fingerprint, fields }
}

const plain = (name: string, value: Field["value"], source: string): Field => ({
  name,
  value: typeof value === "string" ? value.toWellFormed().slice(0, 512) : value,
  source,
  form: "plain",
})

async function systemFields(): Promise<Field[]> {
  const { text, source } = await osRelease()
  const processors = cpus()
  return [
    plain("os.name", osReleaseValue(text, "NAME"), source),
    plain("os.version", osReleaseValue(text, "VERSION_ID"), source),
    plain("os.kernel", release(), "uname(2) release"),
    plain("os.kernelBuild", version(), "uname(2) version"),
    plain("os.architecture", arch(), "the Node that runs"),
    plain("cpu.model", processors[0]?.model.trim() || null, "/proc/cpuinfo"),
    plain("cpu.count", processors.length, "/proc/cpuinfo"),
    plain("memory.bytes", totalmem(), "/proc/meminfo"),
  ]
}

/** os-release(5) names both places. */
async function osRelease(): Promise<{ text: string; source: string }> {
  for (const source of ["/etc/os-release", "/usr/lib/os-release"]) {
    const text = await readTextOrNull(source)
    if (text !== null) return { text, source }
  }
  return { text: "", source: "/etc/os-release (absent)" }
}

function osReleaseValue(text: string, name: string): string | null {
  const value = text.match(new RegExp(`^${name}=(.*)$`, "m"))?.[1]
  return value === undefined ? null : value.replace(/^(["'])(.*)\1$/, "$2")
}

function programFields({ engine, nodeVersion }: SnapshotOptions): Field[] {
  const node = plain("node.version", nodeVersion, "the Node that runs")
  if (engine === null) return [node]
  const source = `${engine.name} info`
  return [
    node,
    plain("engine.name", engine.name, source),
    plain("engine.version", engine.version, source),
    plain("runtime.name", engine.runtime.name, source),
    plain("runtime.version", engine.runtime.version, source),
    plain("runtime.path", engine.runtime.path, source),
  ]
}

async function identifyingFields(salt: Uint8Array): Promise<Field[]> {
  // The name goes into the HMAC, so that equal values under two names do not look equal.
  const hidden = (name: string, value: string | null, source: string): Field => {
    const digest = value === null ? null : createHmac("sha256", salt).update(`${name}\0${value}`).digest("hex")
    return { name, value: digest, source, form: "hmac-sha256" }
  }
  const machineId = await readTextOrNull("/etc/machine-id")
  const productId = await readTextOrNull("/sys/class/dmi/id/product_uuid")
  return [
    hidden("machine.hostname", hostname(), "gethostname(2)"),
    hidden("machine.id", machineId, "/etc/machine-id"),
    hidden("machine.productId", productId, "/sys/class/dmi/id/product_uuid"),
  ]
}

async function readTextOrNull(path: string): Promise<string | null> {
  const text = await readFile(path, "utf8").catch(() => "")
  return text.trim() === "" ? null : text.trim().slice(0, 16_384)
}

const SALT_BYTES = 32

/** The machine's own random salt, made on first use: `$XDG_STATE_HOME/envidence/salt`. */
export async function machineSalt(env: Readonly<Record<string, string | undefined>>): Promise<Uint8Array> {
  const folder = stateFolder(env)
  const path = join(folder, "salt")
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return (await readSalt(path)) ?? (await makeSalt(folder, path))
  } catch (cause) {
    if (cause instanceof EvidenceError) throw cause
    throw new EvidenceError("input-unreadable", `no salt for the machine's fingerprint in ${folder}`, {
      hint: "set XDG_STATE_HOME to a folder that you may write",
      cause,
    })
  }
}

// XDG Base Directory Specification: a relative path is to be ignored.
function stateFolder({ XDG_STATE_HOME, HOME }: Readonly<Record<string, string | undefined>>): string {
  const state = XDG_STATE_HOME && isAbsolute(XDG_STATE_HOME) ? XDG_STATE_HOME : null
  return join(state ?? join(HOME || homedir(), ".local", "state"), "envidence")
}

async function readSalt(path: string): Promise<Uint8Array | undefined> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (file === undefined) return undefined
  try {
    const { size, mode } = await file.stat()
    if (size !== SALT_BYTES) throw unusable(path, `it is not ${SALT_BYTES} bytes long`)
    // Whoever reads the salt can try machine ids against a published fingerprint.
    if ((mode & 0o077) !== 0) throw unusable(path, "others may read it")
    return await file.readFile()
  } finally {
    await file.close()
  }
}

const unusable = (path: string, why: string) =>
  new EvidenceError("input-unreadable", `${path} can't be used: ${why}`, {
    hint: "remove it; a new one is made, and the machine's fingerprint changes",
  })

/** Whole or not at all, and the first of two processes wins: a link to an existing name is refused. */
async function makeSalt(folder: string, path: string): Promise<Uint8Array> {
  const draft = join(folder, `.salt-${randomBytes(8).toString("hex")}`)
  await writeFile(draft, randomBytes(SALT_BYTES), { flag: "wx", mode: 0o600 })
  try {
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error
    })
  } finally {
    await unlink(draft)
  }
  const salt = await readSalt(path)
  if (salt === undefined) throw unusable(path, "it vanished")
  return salt
}
