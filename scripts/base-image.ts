// The base image of the examples, from Debian's and PyPI's packages alone: no container registry.
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync } from "node:fs"
import { cp, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { findPythonWithPip, findRuntime } from "./prerequisites.ts"

export interface BaseImageOptions {
  /** Takes one line at the start of each long step. */
  readonly log: (line: string) => void
  /** Where downloads are kept; default: `defaultCacheDir()`. */
  readonly cacheDir?: string
  /** Stops the step in progress and removes what it had written; a build by the engine is finished first. */
  readonly signal?: AbortSignal
}

interface Inputs {
  readonly dockerfile: string
  readonly requirements: string
  readonly installer: string
  /** Names of what each part is made from, so that a change in one part leaves the others' caches valid. */
  readonly rootfsKey: string
  readonly wheelsKey: string
  readonly imageKey: string
}

interface Step {
  readonly log: (line: string) => void
  readonly folder: string
  readonly signal: AbortSignal | undefined
  readonly environment: NodeJS.ProcessEnv
}

const REPOSITORY = "localhost/envidence-example-base"
const DEFINITION = join(import.meta.dirname, "..", "examples", "base")
const PARTIAL = "partial-"
const PARTIAL_MAX_AGE_MS = 3_600_000
const OUTPUT_TAIL = 4000

const ROOTFS_ARGUMENTS = [
  "--variant=essential",
  // Merged before anything is installed: otherwise the package that merges brings the whole of Perl, 50 MB.
  "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
  "--include=python3,usr-is-merged",
  "--format=tar",
  // Device nodes, which no layer needs and no rootless engine can unpack.
  "--skip=output/dev",
  // It would leave lock files where hygiene looks for package lists: a hook below leaves nothing.
  "--skip=cleanup/apt",
  "--dpkgopt=path-exclude=/usr/share/man/*",
  "--dpkgopt=path-exclude=/usr/share/locale/*",
  "--dpkgopt=path-exclude=/usr/share/info/*",
  "--dpkgopt=path-exclude=/usr/share/doc/*",
  "--dpkgopt=path-include=/usr/share/doc/*/copyright",
  // The user that OpenEnv's validators run an environment as.
  `--customize-hook=echo 'nonroot:x:65532:65532::/tmp:/usr/sbin/nologin' >> "$1/etc/passwd"`,
  `--customize-hook=echo 'nonroot:x:65532:' >> "$1/etc/group"`,
  // dpkg compiled with each source's time of modification in the .pyc: with all times set to 0, every one is stale.
  `--customize-hook=find "$1/usr/lib" -xdev -name __pycache__ -type d -prune -exec rm -rf {} +; rm -rf "$1/usr/lib/python3.11/test"`,
  `--customize-hook=umask 022; chroot "$1" python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.11`,
  // Dated or of the machine that made it; and places where hygiene looks for headers and package lists.
  `--customize-hook=rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/* "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/usr/include "$1"/usr/local/include "$1"/var/lib/dpkg/*-old`,
  "bookworm",
]
const ROOTFS_EPOCH = "1700000000"

/** `$XDG_CACHE_HOME/envidence`, or `~/.cache/envidence`. */
export function defaultCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "envidence")
}

/**
 * Makes sure that the engine holds the examples' base image, also as `localhost/envidence-example-base:latest`. An
 * image made from the same inputs is reused as it is.
 */
export async function ensureBaseImage(options: BaseImageOptions): Promise<{ reference: string }> {
  const inputs = await readInputs()
  const reference = `${REPOSITORY}:${inputs.imageKey}`
  const engine = await makeEngineFolder()
  try {
    const environment = { ...process.env, CONTAINERS_CONF: join(engine, "containers.conf") }
    const folder = join(options.cacheDir ?? defaultCacheDir(), "example-base")
    const step = { log: options.log, folder, signal: options.signal, environment }
    if (!(await imageExists(reference, step))) await buildImage(inputs, reference, step)
    await run("podman", ["tag", reference, `${REPOSITORY}:latest`], step)
    return { reference }
  } finally {
    await rm(engine, { recursive: true, force: true })
  }
}

async function readInputs(): Promise<Inputs> {
  const read = (name: string) => readFile(join(DEFINITION, name), "utf8")
  const dockerfile = await read("Dockerfile")
  const requirements = await read("requirements.txt")
  const installer = await read("installer.txt")
  const rootfsKey = keyOf(process.arch, ROOTFS_EPOCH, ...ROOTFS_ARGUMENTS)
  const wheelsKey = keyOf(process.arch, requirements, installer)
  return {
    dockerfile,
    requirements,
    installer,
    rootfsKey,
    wheelsKey,
    imageKey: keyOf(rootfsKey, wheelsKey, dockerfile),
  }
}

function keyOf(...parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12)
}

async function imageExists(reference: string, step: Step): Promise<boolean> {
  const images = await run("podman", ["images", "--quiet", "--filter", `reference=${reference}`], step)
  return images.trim() !== ""
}

async function buildImage(inputs: Inputs, reference: string, step: Step): Promise<void> {
  await mkdir(step.folder, { recursive: true })
  await removeStalePartials(step.folder)
  const rootfs = await ensureRootfs(inputs, step)
  const wheels = await ensureWheels(inputs, step)
  await inPartialFolder(step, async context => {
    await writeFile(join(context, "Dockerfile"), inputs.dockerfile)
    await writeFile(join(context, "requirements.txt"), inputs.requirements)
    await link(rootfs, join(context, "rootfs.tar"))
    await cp(wheels, join(context, "wheels"), { recursive: true })
    step.log(`Base image: building ${reference} (about 20 s)`)
    await podmanBuild(context, reference, step)
  })
}

async function podmanBuild(context: string, reference: string, step: Step): Promise<void> {
  const reproducible = ["--no-cache", "--format", "oci", "--timestamp", "0", "--network", "none"]
  // An interrupted build leaves its working containers in the engine's storage for good, with nothing to know them by.
  // This one is short: it is shielded from the terminal's Ctrl-C, and finished.
  const shielded = { environment: step.environment, signal: undefined, detached: true }
  await run("podman", ["build", ...reproducible, "--quiet", "--tag", reference, context], shielded)
  const stage = "label=dev.envidence.stage=example-base-build"
  await run("podman", ["image", "prune", "--force", "--filter", stage], shielded)
  step.signal?.throwIfAborted()
}

async function ensureRootfs({ rootfsKey }: Inputs, step: Step): Promise<string> {
  const rootfs = join(step.folder, `rootfs-${rootfsKey}.tar`)
  if (existsSync(rootfs)) return rootfs
  step.log("Base image: Debian 12 with Python, by mmdebstrap (about 20 s, 35 MB to download)")
  await inPartialFolder(step, async partial => {
    const tar = join(partial, "rootfs.tar")
    const environment = { ...step.environment, SOURCE_DATE_EPOCH: ROOTFS_EPOCH }
    await run("mmdebstrap", [...ROOTFS_ARGUMENTS, tar], { ...step, environment })
    await rename(tar, rootfs)
  })
  return rootfs
}

async function ensureWheels(inputs: Inputs, step: Step): Promise<string> {
  const wheels = join(step.folder, `wheels-${inputs.wheelsKey}`)
  if (existsSync(wheels)) return wheels
  step.log("Base image: OpenEnv and what it imports, as wheels from PyPI (about 5 s, 20 MB to download)")
  await inPartialFolder(step, async partial => {
    await writeFile(join(partial, "requirements.txt"), `${inputs.requirements}\n${inputs.installer}`)
    await run(findPythonWithPip() ?? "python3", downloadArguments(partial), step)
    await renameUnlessThere(join(partial, "wheels"), wheels)
  })
  return wheels
}

function downloadArguments(folder: string): string[] {
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64"
  // Named one by one, so that every version of pip chooses the same wheels.
  const platforms = ["manylinux2014", "manylinux_2_17", "manylinux_2_28"].map(tag => `--platform=${tag}_${machine}`)
  const chosen = ["--python-version=3.11", "--implementation=cp", "--only-binary=:all:", ...platforms]
  const pinned = ["--no-deps", "--require-hashes", "--no-cache-dir", "--quiet"]
  const files = ["--dest", join(folder, "wheels"), "--requirement", join(folder, "requirements.txt")]
  return ["-m", "pip", "download", ...chosen, ...pinned, ...files]
}

/** Two processes may download the same wheels at once: the first to finish wins, and both have the same bytes. */
async function renameUnlessThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (!existsSync(to)) throw error
  }
}

async function inPartialFolder(step: Step, work: (folder: string) => Promise<void>): Promise<void> {
  const partial = await mkdtemp(join(step.folder, PARTIAL))
  try {
    await work(partial)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

/** What a killed run left. A younger folder may belong to a run in progress. */
async function removeStalePartials(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(PARTIAL)) continue
    const { mtimeMs } = await stat(join(folder, name))
    if (Date.now() - mtimeMs > PARTIAL_MAX_AGE_MS) await rm(join(folder, name), { recursive: true, force: true })
  }
}

/** The engine's defaults fail on machines without CAP_SYS_RESOURCE, without systemd, or with hybrid cgroups. */
async function makeEngineFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "envidence-engine-"))
  const limits = await readFile("/proc/self/limits", "utf8")
  const ulimits = [`nofile=${hardLimit(limits, "Max open files")}`, `nproc=${hardLimit(limits, "Max processes")}`]
  const lines = [
    "[containers]",
    `default_ulimits = ${JSON.stringify(ulimits)}`,
    "[engine]",
    'cgroup_manager = "cgroupfs"',
    'events_logger = "file"',
    `runtime = "${findRuntime() ?? "runc"}"`,
  ]
  await writeFile(join(folder, "containers.conf"), `${lines.join("\n")}\n`)
  return folder
}

/** Soft and hard, at most 4096: an environment needs no more, and no process may raise its own hard limit. */
function hardLimit(limits: string, name: string): string {
  const hard = new RegExp(`^${name} +\\S+ +(\\d+)`, "m").exec(limits)?.[1]
  const value = Math.min(4096, hard === undefined ? Number.POSITIVE_INFINITY : Number(hard))
  return `${value}:${value}`
}

interface RunOptions extends Pick<Step, "environment" | "signal"> {
  readonly detached?: boolean
}

function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: options.environment,
      stdio: ["ignore", "pipe", "pipe"],
      detached: options.detached ?? false,
      ...(options.signal && { signal: options.signal }),
    })
    let stdout = ""
    let tail = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
      tail = (tail + text).slice(-OUTPUT_TAIL)
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-OUTPUT_TAIL)
    })
    let failure: Error | undefined
    child.on("error", error => {
      failure = error
      if (child.pid === undefined) reject(error)
    })
    // Only now has an aborted child stopped writing.
    child.on("close", (code, killedBy) => {
      if (code === 0 && failure === undefined) resolve(stdout)
      else reject(failure ?? new Error(`${command} ${args[0]} failed (${killedBy ?? `exit ${code}`}):\n${tail.trim()}`))
    })
  })
}

if (import.meta.main) {
  const interrupted = new AbortController()
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort())
  try {
    const { reference } = await ensureBaseImage({ log: line => console.error(line), signal: interrupted.signal })
    console.log(reference)
  } catch (error) {
    console.error(interrupted.signal.aborted ? "Interrupted." : String(error))
    process.exitCode = interrupted.signal.aborted ? 130 : 1
  }
}
