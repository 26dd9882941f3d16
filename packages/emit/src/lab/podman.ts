import { randomBytes } from "node:crypto"
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises"
import { userInfo } from "node:os"
import { join, resolve } from "node:path"
import { EvidenceError } from "@envidence/core"
import { openOciLayout } from "@envidence/oci"
import { buildFailure, missingImage } from "./build-failure.js"
import { demandHarmlessBuild } from "./build-guard.js"
import { startContainer } from "./container.js"
import {
  type BuildRequest,
  type BuildResult,
  declaredArguments,
  type Engine,
  type EngineRuntime,
  type RunningContainer,
  type RunRequest,
} from "./engine.js"
import { type LabFolder, openFolder, removeFolder } from "./folder.js"
import type { Log } from "./log.js"
import { type ProcessOptions, type ProcessResult, runProcess, throwIfInterrupted } from "./process.js"

export interface EngineOptions {
  /** Where the lab's folder is made; large, and on a disk. `/var/tmp` unless the caller knows better. */
  readonly parentDirectory: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** The Node that runs the forwarder. */
  readonly nodePath: string
  readonly log: Log
  readonly signal: AbortSignal
}

const RUNTIMES = ["crun", "runc"] as const

/**
 * Opens podman (4.3 or later) with configuration and image storage of its own.
 *
 * @throws EvidenceError engine-failed where podman or a working OCI runtime is missing; the hint says what to install
 */
export async function openPodman(options: EngineOptions): Promise<Engine> {
  await requirePodman(options)
  const user = await userStorage(options)
  const folder = await openFolder(options.parentDirectory, options.env, options.log)
  try {
    await writeFile(folder.paths.storageConf, storageConf(folder, user))
    return new Podman(folder, options, user, await chooseRuntime(folder, options))
  } catch (error) {
    await removeFolder(folder, options.log)
    throw error
  }
}

const INSTALL = "install podman and runc (Debian, Ubuntu: apt-get install podman runc), or crun"

const unusable = (): string =>
  userInfo().uid === 0
    ? "The engine is there and refuses: `podman run` must work on this machine."
    : "The engine is there and refuses. Running without root was not tried in this version: run as root, best in a virtual machine."

const plainEnv = (env: Readonly<Record<string, string | undefined>>) =>
  Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined))

async function requirePodman({ env, signal }: EngineOptions): Promise<void> {
  const result = await runProcess("podman", ["--version"], { env: plainEnv(env), timeoutSeconds: 20, signal })
  if (result.exitCode === 127) throw new EvidenceError("engine-failed", "podman is not there", { hint: INSTALL })
  if (result.exitCode !== 0)
    throw new EvidenceError("engine-failed", `podman does not start: ${lastOf(result)}`, { hint: unusable() })
}

interface UserStorage {
  readonly driver: string
  readonly root: string
  readonly mountProgram: string | null
}

interface PodmanInfo {
  readonly host: {
    readonly buildahVersion: string
    readonly ociRuntime: { readonly name: string; readonly path: string; readonly version: string }
  }
  readonly store: {
    readonly graphDriverName: string
    readonly graphRoot: string
    readonly graphOptions: Readonly<Record<string, unknown>>
  }
  readonly version: { readonly Version: string }
}

/** The storage that holds the user's images: read, never written. */
async function userStorage({ env, signal }: EngineOptions): Promise<UserStorage> {
  const result = await runProcess("podman", ["info", "--format", "json"], {
    env: plainEnv(env),
    timeoutSeconds: 60,
    signal,
  })
  const { store } = parseOutput<PodmanInfo>(result, "podman info")
  const program = store.graphOptions["overlay.mount_program"] as { Executable?: string } | undefined
  return { driver: store.graphDriverName, root: store.graphRoot, mountProgram: program?.Executable ?? null }
}

// JSON strings are TOML basic strings (TOML 1.0.0, "String").
const quoted = (text: string) => JSON.stringify(text)

const storageConf = ({ paths }: LabFolder, { driver, root, mountProgram }: UserStorage) =>
  [
    "[storage]",
    `driver = ${quoted(driver)}`,
    `graphroot = ${quoted(paths.storage)}`,
    `runroot = ${quoted(paths.runRoot)}`,
    "[storage.options]",
    `additionalimagestores = [${quoted(root)}]`,
    ...(mountProgram === null ? [] : ["[storage.options.overlay]", `mount_program = ${quoted(mountProgram)}`]),
    "",
  ].join("\n")

// Without these, podman asks for limits that a plain machine refuses (no CAP_SYS_RESOURCE); it lowers its own process
// limit to 32768 before it starts the runtime.
const ULIMITS = { "Max open files": ["nofile", 65_536], "Max processes": ["nproc", 16_384] } as const

async function cappedUlimits(): Promise<string[]> {
  const table = await readFile("/proc/self/limits", "utf8")
  return Object.entries(ULIMITS).map(([title, [name, wanted]]) => {
    const hard = table.match(new RegExp(`^${title} +\\S+ +(\\d+)`, "m"))?.[1]
    const value = Math.min(wanted, hard === undefined ? wanted : Number(hard))
    return `${name}=${value}:${value}`
  })
}

async function containersConf({ paths }: LabFolder, runtime: string): Promise<string> {
  const isRoot = userInfo().uid === 0
  return [
    "[engine]",
    ...(isRoot ? ['cgroup_manager = "cgroupfs"'] : []),
    `runtime = ${quoted(runtime)}`,
    'events_logger = "none"',
    // Locks in files of the lab's own: in shared memory, a killed run would hold the user's podman's locks for good.
    'lock_type = "file"',
    `tmp_dir = ${quoted(paths.libpod)}`,
    "[containers]",
    `default_ulimits = [${(await cappedUlimits()).map(quoted).join(", ")}]`,
    "",
  ].join("\n")
}

// Podman's words where neither its configuration nor PATH has the program.
const RUNTIME_MISSING = /default OCI runtime ".*" not found|no valid executable found for OCI runtime/

/** The first runtime that really starts a container here: crun refuses hybrid cgroups, for one. */
async function chooseRuntime(folder: LabFolder, { log, signal }: EngineOptions): Promise<Programs> {
  const refusals: string[] = []
  let isAnyThere = false
  for (const name of RUNTIMES) {
    await writeFile(folder.paths.containersConf, await containersConf(folder, name))
    const probe = await probeRuntime(folder, signal)
    log.write(`runtime ${name}: ${probe.exitCode === 0 ? "works" : lastOf(probe)}`)
    if (probe.exitCode === 0) return describeRuntime(folder, name, signal)
    refusals.push(`${name}: ${lastOf(probe)}`)
    isAnyThere ||= !RUNTIME_MISSING.test(lastOf(probe))
  }
  throw new EvidenceError("engine-failed", `no OCI runtime starts a container here (${refusals.join("; ")})`, {
    hint: isAnyThere ? unusable() : INSTALL,
  })
}

const PROBE_LIMITS = ["--memory=64m", "--pids-limit=32"]

// Detached, and ended by us: podman 4.3 waits 20 s for the exit of a container that ends before it looks.
async function probeRuntime(folder: LabFolder, signal: AbortSignal): Promise<ProcessResult> {
  const root = await probeRoot(folder)
  const name = `envidence-probe-${randomBytes(6).toString("hex")}`
  const hardening = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
  const args = ["run", "--detach", `--name=${name}`, ...hardening, ...PROBE_LIMITS]
  const mount = ["--volume=/usr:/usr:ro", "--rootfs", root, "/usr/bin/sleep", "30"]
  const options = { env: folder.env, timeoutSeconds: 60 }
  try {
    return await runProcess("podman", [...args, ...mount], { ...options, signal })
  } finally {
    await runProcess("podman", ["rm", "--force", "--ignore", "--time=0", name], options)
  }
}

/** A root file system with nothing in it but the machine's own /usr, mounted read-only. */
async function probeRoot({ paths }: LabFolder): Promise<string> {
  const root = join(paths.temporary, "probe")
  for (const name of ["usr", "proc", "sys", "dev", "tmp", "etc", "run"])
    await mkdir(join(root, name), { recursive: true })
  for (const name of ["bin", "lib", "lib64"])
    await symlink(`usr/${name}`, join(root, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error
    })
  return root
}

interface Programs {
  readonly version: string
  readonly buildahVersion: string
  readonly runtime: EngineRuntime
}

async function describeRuntime(folder: LabFolder, name: string, signal: AbortSignal): Promise<Programs> {
  const options = { env: folder.env, timeoutSeconds: 60, signal }
  const info = parseOutput<PodmanInfo>(await runProcess("podman", ["info", "--format", "json"], options), "podman info")
  const { path, version } = info.host.ociRuntime
  const number = version.match(/version ([\w.+~-]+)/)?.[1] ?? "unknown"
  const { buildahVersion } = info.host
  return { runtime: { name, version: number, path }, version: info.version.Version, buildahVersion }
}

const lastOf = ({ tail, exitCode }: ProcessResult) => (tail.at(-1) ?? `exit code ${exitCode}`).slice(0, 400)

function parseOutput<T>(result: ProcessResult, what: string): T {
  if (result.exitCode !== 0)
    throw new EvidenceError("engine-failed", `${what}: ${lastOf(result)}`, { hint: unusable() })
  try {
    return JSON.parse(result.stdout) as T
  } catch (cause) {
    throw new EvidenceError("engine-failed", `${what}: its answer is not JSON`, { cause })
  }
}

const BUILD_SECONDS = 3600

class Podman implements Engine {
  readonly name = "podman"
  readonly version: string
  readonly runtime: EngineRuntime
  readonly workDirectory: string
  readonly #folder: LabFolder
  readonly #options: EngineOptions
  readonly #user: UserStorage
  readonly #buildahVersion: string
  readonly #containers = new Set<RunningContainer>()
  #closing: Promise<void> | undefined

  constructor(
    folder: LabFolder,
    options: EngineOptions,
    user: UserStorage,
    { runtime, version, buildahVersion }: Programs,
  ) {
    this.#folder = folder
    this.#options = options
    this.#user = user
    this.#buildahVersion = buildahVersion
    this.runtime = runtime
    this.version = version
    this.workDirectory = folder.paths.work
  }

  async build(request: BuildRequest): Promise<BuildResult> {
    const roots = [this.#folder.paths.storage, this.#user.root]
    await demandHarmlessBuild(request, {
      buildahVersion: this.#buildahVersion,
      imageFolders: roots.map(root => join(root, `${this.#user.driver}-images`)),
      imageId: reference => this.#imageId(reference, request),
    })
    const image = `localhost/envidence-${randomBytes(6).toString("hex")}`
    const flags = buildFlags(request)
    const state = join(this.#folder.paths.runtimeState, this.runtime.name)
    await mkdir(state, { recursive: true, mode: 0o700 })
    const args = ["build", ...flags, `--runtime-flag=root=${state}`, "--tag", image, "--", request.contextDirectory]
    const result = await runProcess("podman", args, {
      cwd: request.contextDirectory,
      env: this.#folder.env,
      timeoutSeconds: request.timeoutSeconds ?? BUILD_SECONDS,
      signal: request.signal,
      log: request.log,
    })
    if (result.exitCode !== 0) throw buildFailure(result, request)
    return { image, flags }
  }

  async #imageId(reference: string, { signal, log }: BuildRequest): Promise<string> {
    const options = { env: this.#folder.env, signal, timeoutSeconds: BUILD_SECONDS }
    const inspect = ["image", "inspect", "--format={{.Id}}", "--", reference]
    const found = await runProcess("podman", inspect, options)
    if (found.exitCode === 0) return found.stdout.trim()
    const pulled = await runProcess("podman", ["pull", "--quiet", "--", reference], { ...options, log })
    if (pulled.exitCode !== 0) throw missingImage(reference, pulled.tail)
    return (await this.#run("image inspect", inspect, options)).stdout.trim()
  }

  async exportLayout(image: string, directory: string, signal: AbortSignal): Promise<void> {
    const args = ["push", "--quiet", "--format", "oci", "--", image, `oci:${directory}`]
    await this.#run("push", args, { timeoutSeconds: 1800, signal })
  }

  async importLayout(directory: string, signal: AbortSignal): Promise<string> {
    const name = `envidence-${randomBytes(6).toString("hex")}`
    const { temporary } = this.#folder.paths
    await writeSingleLayout(directory, join(temporary, name))
    // Podman names the image after the path as given, and refuses capitals in it: hence a relative one.
    const options = { cwd: temporary, timeoutSeconds: 1800, signal }
    const { stdout } = await this.#run("pull", ["pull", "--quiet", "--", `oci:${name}`], options)
    return stdout.trim()
  }

  async run(image: string, request: RunRequest): Promise<RunningContainer> {
    const container = await startContainer(image, request, {
      run: (args, options) => this.#run(args[0] ?? "", args, options),
      attempt: (args, options) => runProcess("podman", args, { ...options, env: this.#folder.env }),
      env: this.#folder.env,
      socketDirectory: this.#folder.paths.sockets,
      nodePath: this.#options.nodePath,
      rootless: userInfo().uid !== 0,
    })
    this.#containers.add(container)
    return container
  }

  async removeImage(image: string): Promise<void> {
    await this.#run("rmi", ["rmi", "--", image], { timeoutSeconds: 120 })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#containers].map(container => container.stop()))
    await removeFolder(this.#folder, this.#options.log)
  }

  async #run(name: string, args: readonly string[], options: Omit<ProcessOptions, "env">): Promise<ProcessResult> {
    throwIfInterrupted(options.signal)
    const result = await runProcess("podman", args, { ...options, env: this.#folder.env })
    if (result.exitCode !== 0) throw new EvidenceError("engine-failed", `podman ${name}: ${lastOf(result)}`)
    return result
  }
}

/** The same blobs under an index that holds the one image for this machine. */
async function writeSingleLayout(directory: string, single: string): Promise<void> {
  const { manifest, manifestDigest, manifestBytes } = await openOciLayout(directory)
  const descriptor = { mediaType: manifest.mediaType, digest: manifestDigest, size: manifestBytes.length }
  await mkdir(single)
  await symlink(resolve(directory, "blobs"), join(single, "blobs"))
  await writeFile(join(single, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }))
  await writeFile(join(single, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }))
}

function buildFlags(request: BuildRequest): string[] {
  const { dockerfile, network, sourceDateEpoch, cached = false } = request
  return [
    ...(cached ? [] : ["--no-cache", `--timestamp=${sourceDateEpoch}`]),
    "--layers",
    "--format=oci",
    `--network=${network}`,
    `--file=${dockerfile}`,
    ...Object.entries(declaredArguments(request)).map(([name, value]) => `--build-arg=${name}=${value}`),
  ]
}
